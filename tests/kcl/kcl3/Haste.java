import software.amazon.kinesis.coordinator.CoordinatorConfig;
import software.amazon.kinesis.leases.LeaseManagementConfig;

/** What only KCL 3 has to be told: its leader waits for reports of workers before it gives out leases. */
final class Haste {
    private Haste() {}

    static void make(CoordinatorConfig coordinator, LeaseManagementConfig leases) {
        leases.leaseAssignmentIntervalMillis(1000L);
        leases.dynamoDbLockBasedLeaderLeaseDurationInMillis(8000L);
        leases.dynamoDbLockBasedLeaderHeartbeatPeriodInMillis(2000L);
        leases.workerUtilizationAwareAssignmentConfig().workerMetricsReporterFreqInMillis(2000L);
    }
}
