//! How the consumers of a run are set up, drawn from its seed.

use crate::rng::Rng;
use authpulse_event::time::{HOUR, SECOND};
use authpulse_event::{EventModel, Span};
use authpulse_lake::MaintainSettings;
use authpulse_lease::LeaseSettings;
use authpulse_settings::Options;

/// Small entries and short intervals; half of the runs take attributes in. Files that nothing names are removed after `orphan_age`.
pub fn drawn_options(rng: &mut Rng, orphan_age: Span) -> Options {
    let mut options = Options {
        entry_rows: 20 + rng.below(60),
        chunk_rows: 5 + rng.below(30) as usize,
        read_records: 1 + rng.below(40) as usize,
        snapshot_rows: 40 + rng.below(200),
        snapshot_piece_bytes: 200,
        raw: rng.per_mille(300),
        commit_interval: (10 + rng.below(90) as i64) * SECOND,
        poll_interval: (1 + rng.below(5) as i64) * SECOND,
        follow_interval: (1 + rng.below(4) as i64) * SECOND,
        leases: LeaseSettings { hand_over_within: 15_000_000, ..LeaseSettings::default() },
        maintain: MaintainSettings {
            target_bytes: 1 << 20,
            min_files: 2 + rng.below(3) as usize,
            manifests_max: 1 + rng.below(4) as usize,
            snapshots_max: 1 + rng.below(20) as usize,
            snapshot_age: (1 + rng.below(3) as i64) * HOUR,
            orphan_age,
            fold_entries: 1 + rng.below(6),
            entry_age: orphan_age,
            follower_keep: (1 + rng.below(4) as i64) * HOUR,
        },
        ..Options::default()
    };
    options.engine.time.lookback_days = 1 + rng.below(3) as u32;
    for (key, value) in
        [("min_hosts", 1 + rng.below(4)), ("burst_over", 3 + rng.below(4)), ("lateral_from", 3 + rng.below(2))]
    {
        options.engine.rules.set_threshold(key, value as u32).expect("a threshold of the four");
    }
    // Nothing is drawn for this, so that seeds keep what they draw.
    if options.entry_rows % 2 == 1 {
        options.engine.time.event_model = EventModel::Attributes;
    }
    options
}
