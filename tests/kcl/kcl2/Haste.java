import software.amazon.kinesis.coordinator.CoordinatorConfig;
import software.amazon.kinesis.leases.LeaseManagementConfig;

/** What only KCL 3 has to be told: nothing here. */
final class Haste {
    private Haste() {}

    static void make(CoordinatorConfig coordinator, LeaseManagementConfig leases) {}
}
