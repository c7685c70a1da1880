import java.io.FileOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.io.UncheckedIOException;
import java.net.URI;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.Base64;
import java.util.Iterator;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import software.amazon.awssdk.auth.credentials.AwsBasicCredentials;
import software.amazon.awssdk.auth.credentials.StaticCredentialsProvider;
import software.amazon.awssdk.awscore.client.builder.AwsAsyncClientBuilder;
import software.amazon.awssdk.awscore.client.builder.AwsClientBuilder;
import software.amazon.awssdk.http.Protocol;
import software.amazon.awssdk.http.nio.netty.NettyNioAsyncHttpClient;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.cloudwatch.CloudWatchAsyncClient;
import software.amazon.awssdk.services.dynamodb.DynamoDbAsyncClient;
import software.amazon.awssdk.services.kinesis.KinesisAsyncClient;
import software.amazon.kinesis.common.ConfigsBuilder;
import software.amazon.kinesis.common.InitialPositionInStream;
import software.amazon.kinesis.common.InitialPositionInStreamExtended;
import software.amazon.kinesis.coordinator.CoordinatorConfig;
import software.amazon.kinesis.coordinator.PromptScheduler;
import software.amazon.kinesis.coordinator.Scheduler;
import software.amazon.kinesis.exceptions.KinesisClientLibException;
import software.amazon.kinesis.leases.LeaseManagementConfig;
import software.amazon.kinesis.lifecycle.events.InitializationInput;
import software.amazon.kinesis.lifecycle.events.LeaseLostInput;
import software.amazon.kinesis.lifecycle.events.ProcessRecordsInput;
import software.amazon.kinesis.lifecycle.events.ShardEndedInput;
import software.amazon.kinesis.lifecycle.events.ShutdownRequestedInput;
import software.amazon.kinesis.metrics.NullMetricsFactory;
import software.amazon.kinesis.processor.ShardRecordProcessor;
import software.amazon.kinesis.processor.SingleStreamTracker;
import software.amazon.kinesis.retrieval.KinesisClientRecord;
import software.amazon.kinesis.retrieval.RetrievalConfig;
import software.amazon.kinesis.retrieval.polling.PollingConfig;

/**
 * A worker of the Kinesis Client Library that writes down what it is given. The same source serves KCL 2 and 3.
 *
 * <pre>
 *   Worker STREAM APPLICATION NAME KINESIS-URL DYNAMODB-URL FILE [--stop-after N] [--as-shipped]
 * </pre>
 *
 * A line of FILE is a record: shard, sequence number, sub-sequence number, milliseconds of its delivery, partition key
 * and data (both in base64), with tabs between. Each batch is checkpointed when its lines are written. SIGTERM stops
 * the worker as the KCL stops one; with --stop-after it stops by itself after exactly N records, the last of which it
 * checkpoints wherever in an aggregate that is. --as-shipped leaves the KCL's own intervals, which are long for tests.
 */
public final class Worker {
    private static final long STOP_SECONDS = 40;
    /** KCL 2 never ends a stop while it owns the lease of a shard that has ended; nothing is left to do then. */
    private static final long STOP_WITHOUT_WORK_SECONDS = 3;

    private static final Set<Processor> AT_WORK = ConcurrentHashMap.newKeySet();
    private static final CountDownLatch ENOUGH = new CountDownLatch(1);
    private static volatile boolean stopping;
    private static OutputStream file;
    private static long left = Long.MAX_VALUE;

    private Worker() {}

    public static void main(String[] words) throws Exception {
        Iterator<String> rest = List.of(words).iterator();
        String stream = rest.next(), application = rest.next(), name = rest.next();
        URI kinesisAt = URI.create(rest.next()), dynamodbAt = URI.create(rest.next());
        file = new FileOutputStream(rest.next(), true);
        boolean asShipped = false;
        while (rest.hasNext()) {
            switch (rest.next()) {
                case "--stop-after" -> left = Long.parseLong(rest.next());
                case "--as-shipped" -> asShipped = true;
                default -> throw new IllegalArgumentException("see the head of Worker.java");
            }
        }

        KinesisAsyncClient kinesis = client(KinesisAsyncClient.builder(), kinesisAt);
        DynamoDbAsyncClient dynamodb = client(DynamoDbAsyncClient.builder(), dynamodbAt);
        // Never called: there are no metrics.
        CloudWatchAsyncClient cloudwatch = client(CloudWatchAsyncClient.builder(), dynamodbAt);
        var oldest = InitialPositionInStreamExtended.newInitialPosition(InitialPositionInStream.TRIM_HORIZON);
        var tracker = new SingleStreamTracker(stream, oldest);
        var configs = new ConfigsBuilder(tracker, application, kinesis, dynamodb, cloudwatch, name, Processor::new);
        CoordinatorConfig coordinator = configs.coordinatorConfig();
        LeaseManagementConfig leases = configs.leaseManagementConfig();
        PollingConfig polling = new PollingConfig(stream, kinesis);
        RetrievalConfig retrieval = configs.retrievalConfig().retrievalSpecificConfig(polling);

        Scheduler scheduler;
        if (asShipped) {
            var metrics = configs.metricsConfig().metricsFactory(new NullMetricsFactory());
            scheduler = new Scheduler(configs.checkpointConfig(), coordinator, leases, configs.lifecycleConfig(), metrics,
                    configs.processorConfig(), retrieval);
        } else {
            coordinator.parentShardPollIntervalMillis(500).shardConsumerDispatchPollIntervalMillis(200);
            leases.failoverTimeMillis(3000).shardSyncIntervalMillis(0);
            polling.idleTimeBetweenReadsInMillis(250);
            Haste.make(coordinator, leases);
            scheduler = new PromptScheduler(configs, coordinator, leases, retrieval);
        }

        Runtime.getRuntime().addShutdownHook(new Thread(() -> Runtime.getRuntime().halt(stop(scheduler) ? 0 : 1)));
        new Thread(() -> {
            scheduler.run();
            if (!stopping) {
                System.err.println("the KCL gave up");
                Runtime.getRuntime().halt(1);
            }
        }).start();
        ENOUGH.await();
        System.exit(0);
    }

    private static <B extends AwsClientBuilder<B, C> & AwsAsyncClientBuilder<B, C>, C> C client(B builder, URI at) {
        return builder.endpointOverride(at)
                .region(Region.US_EAST_1)
                .credentialsProvider(StaticCredentialsProvider.create(AwsBasicCredentials.create("test", "test")))
                .httpClientBuilder(NettyNioAsyncHttpClient.builder().protocol(Protocol.HTTP1_1).maxConcurrency(100))
                .build();
    }

    private static boolean stop(Scheduler scheduler) {
        stopping = true;
        try {
            Future<Boolean> stopped = scheduler.startGracefulShutdown();
            long now = System.nanoTime(), deadline = now + TimeUnit.SECONDS.toNanos(STOP_SECONDS);
            long worked = now;
            while (!stopped.isDone()) {
                now = System.nanoTime();
                if (!AT_WORK.isEmpty()) {
                    worked = now;
                } else if (now - worked > TimeUnit.SECONDS.toNanos(STOP_WITHOUT_WORK_SECONDS)) {
                    return true;
                }
                if (now > deadline) {
                    return false;
                }
                Thread.sleep(20);
            }
            return true;
        } catch (Exception error) {
            error.printStackTrace();
            return false;
        }
    }

    /** Writes a record down; false if there have been enough. */
    private static synchronized boolean deliver(String shard, KinesisClientRecord record) {
        if (left == 0) {
            return false;
        }
        ByteBuffer buffer = record.data().duplicate();
        byte[] data = new byte[buffer.remaining()];
        buffer.get(data);
        Base64.Encoder base64 = Base64.getEncoder();
        String key = base64.encodeToString(record.partitionKey().getBytes(StandardCharsets.UTF_8));
        String line = String.join("\t", shard, record.sequenceNumber(), String.valueOf(record.subSequenceNumber()),
                String.valueOf(System.currentTimeMillis()), key, base64.encodeToString(data)) + "\n";
        try {
            // In one call: a worker that is killed leaves whole lines.
            file.write(line.getBytes(StandardCharsets.US_ASCII));
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
        if (--left == 0) {
            ENOUGH.countDown();
        }
        return true;
    }

    private static final class Processor implements ShardRecordProcessor {
        private String shard;
        private boolean cut;

        @Override
        public void initialize(InitializationInput input) {
            shard = input.shardId();
            AT_WORK.add(this);
        }

        @Override
        public void processRecords(ProcessRecordsInput input) {
            KinesisClientRecord last = null;
            for (KinesisClientRecord record : input.records()) {
                if (!deliver(shard, record)) {
                    cut = true;
                    break;
                }
                last = record;
            }
            if (last != null) {
                try {
                    input.checkpointer().checkpoint(last.sequenceNumber(), last.subSequenceNumber());
                } catch (KinesisClientLibException error) {
                    // The lease is another's: that worker repeats these records, and tests see them twice.
                    error.printStackTrace();
                }
            }
        }

        @Override
        public void shardEnded(ShardEndedInput input) {
            if (!cut) {
                try {
                    input.checkpointer().checkpoint();
                } catch (KinesisClientLibException error) {
                    error.printStackTrace();
                }
            }
            AT_WORK.remove(this);
        }

        @Override
        public void leaseLost(LeaseLostInput input) {
            AT_WORK.remove(this);
        }

        @Override
        public void shutdownRequested(ShutdownRequestedInput input) {
            // Every batch is checkpointed already.
        }
    }
}
