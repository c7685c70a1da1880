package software.amazon.kinesis.coordinator;

import software.amazon.kinesis.common.ConfigsBuilder;
import software.amazon.kinesis.leases.LeaseManagementConfig;
import software.amazon.kinesis.leases.exceptions.LeasingException;
import software.amazon.kinesis.metrics.NullMetricsFactory;
import software.amazon.kinesis.retrieval.RetrievalConfig;

/**
 * A scheduler that makes the first leases of an empty table at once. The KCL first waits for up to 30 s, by chance, so
 * that a fleet does not list shards all at once; no setting shortens that, and the method is open to this package only.
 */
public final class PromptScheduler extends Scheduler {
    public PromptScheduler(
            ConfigsBuilder configs, CoordinatorConfig coordinator, LeaseManagementConfig leases, RetrievalConfig retrieval) {
        super(
                configs.checkpointConfig(),
                coordinator,
                leases,
                configs.lifecycleConfig().taskBackoffTimeMillis(100),
                configs.metricsConfig().metricsFactory(new NullMetricsFactory()),
                configs.processorConfig(),
                retrieval);
    }

    @Override
    boolean shouldInitiateLeaseSync() {
        try {
            return leaseCoordinator().leaseRefresher().isLeaseTableEmpty();
        } catch (LeasingException error) {
            throw new IllegalStateException("the table of leases cannot be read", error);
        }
    }
}
