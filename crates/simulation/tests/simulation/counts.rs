//! Counts of what happened in runs.

/// What happened how often.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub steps: u64,
    pub crashes: u64,
    pub hung: u64,
    pub stopped: u64,
    pub failed: u64,
    pub take_overs: u64,
    pub late_puts: u64,
    pub clocks_set: u64,
    pub foreign: u64,
    pub compacted: u64,
    pub expired: u64,
    pub removed: u64,
    pub folded: u64,
    pub forgotten: u64,
    pub splits: u64,
    pub merges: u64,
    pub trimmed: u64,
    pub of_kinesis: u64,
    pub throttled: u64,
    pub put_twice: u64,
    pub changed_twice: u64,
    pub late_changes: u64,
    pub followed: u64,
    pub rebuilt: u64,
    /// Consumers of the older program that stood aside at the end of a run with two versions.
    pub stood_aside: u64,
    /// Rows with a value in a column that only the newer of two programs knows, and rows of a table that only it knows.
    pub noted: u64,
    pub of_new_table: u64,
}

impl Counts {
    pub fn add(&mut self, other: &Counts) {
        for ((_, mine), (_, theirs)) in self.fields_mut().into_iter().zip(other.clone().fields_mut()) {
            *mine += *theirs;
        }
    }
    pub fn fields_mut(&mut self) -> [(&'static str, &mut u64); 24] {
        [
            ("effects and pauses", &mut self.steps),
            ("crashes", &mut self.crashes),
            ("processes that hung", &mut self.hung),
            ("orderly stops", &mut self.stopped),
            ("ends after an unclear answer", &mut self.failed),
            ("shards taken over", &mut self.take_overs),
            ("entries that came too late", &mut self.late_puts),
            ("clocks set", &mut self.clocks_set),
            ("foreign commits", &mut self.foreign),
            ("files compacted", &mut self.compacted),
            ("snapshots expired", &mut self.expired),
            ("orphans and old state removed", &mut self.removed),
            ("entries folded", &mut self.folded),
            ("folded entries removed", &mut self.forgotten),
            ("splits", &mut self.splits),
            ("merges", &mut self.merges),
            ("times that retention took what was read", &mut self.trimmed),
            ("runs over Kinesis", &mut self.of_kinesis),
            ("requests to the table of leases throttled", &mut self.throttled),
            ("leases made by a request that came twice", &mut self.put_twice),
            ("leases changed by a request that came twice", &mut self.changed_twice),
            ("leases changed after their worker gave up", &mut self.late_changes),
            ("entries that a follower took in", &mut self.followed),
            ("times that a follower was rebuilt", &mut self.rebuilt),
        ]
    }
}
