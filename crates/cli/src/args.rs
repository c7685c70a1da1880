//! The command line.

use crate::evaluate::Evaluate;
use crate::generate::{Generate, Profile};
use crate::interval::parse_interval;
use crate::lake::NamedLake;
use crate::output::LogFormat;
use crate::stream::Reading;
use clap::{Args as ClapArgs, Parser, Subcommand};
use std::path::PathBuf;

/// Authentication risk on streams: which logons look like stolen credentials, and why.
///
/// Reads authentication events from a stream as they happen (or from files), keeps per-user windows and the all-time set of
/// devices, applies four weighted rules, and lands every scored event exactly once in Apache Iceberg tables.
///
/// Begin with `authpulse demo`. Logs go to standard error (AUTHPULSE_LOG=info for more, AUTHPULSE_LOG=CRATE=debug for one crate),
/// results to standard output.
#[derive(Parser, Debug)]
#[command(name = "authpulse", version, max_term_width = 120)]
pub struct Args {
    /// How lines on standard error look: for people, or as one JSON object each.
    #[arg(long, global = true, value_enum, default_value = "text")]
    pub log_format: LogFormat,
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub enum Command {
    Demo(Demo),
    Generate(Generate),
    Evaluate(Evaluate),
    Replay(Replay),
    Consume(Consume),
    Backfill(Backfill),
    Verify(Verify),
    Status(Status),
    #[command(subcommand)]
    Tables(TablesCommand),
    #[command(subcommand)]
    Config(ConfigCommand),
    #[command(subcommand)]
    Stream(StreamCommand),
    #[command(subcommand)]
    Leases(LeasesCommand),
    Redrive(Redrive),
    #[command(subcommand)]
    Followers(FollowersCommand),
}

/// The whole path on this machine: generate, replay, score, land, and say who looks stolen.
///
/// Generates a LANL-like file with a few injected attacks (or takes yours), starts a consumer as a second process, replays the
/// file at full speed through the embedded stream into it, seals, and prints what came in, what was landed, and the riskiest
/// users with the reasons. Exits 0 only if all is landed and adds up. Run again after an interruption, it continues.
#[derive(ClapArgs, Debug, Clone)]
pub struct Demo {
    /// A file of events (time,user,computer; plain, gzip, bzip2 or zstd) instead of a generated one.
    #[arg(long)]
    pub input: Option<PathBuf>,
    /// Events to generate, or the most to take from --input.
    #[arg(long)]
    pub events: Option<u64>,
    /// Where the lake goes: a directory, or s3://BUCKET/PREFIX with --catalog. The demo's own files (events, stream) go below it,
    /// or for a lake on S3 into ./authpulse-demo.
    #[arg(long, default_value = "./lake")]
    pub lake: PathBuf,
    /// The catalog of a lake on S3: glue, or glue:DATABASE. [default database: authpulse]
    #[arg(long)]
    pub catalog: Option<String>,
    /// Shards of the embedded stream.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub shards: u32,
    /// The shape of the generated events. In LANL's, busy accounts fire rules all day, as real ones do, and stand before the
    /// attacks; in the simple one the attacks are the riskiest of all. [default: lanl-9mo]
    #[arg(long, value_enum)]
    pub profile: Option<Profile>,
    /// Seed of the generated events.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Attacks to inject into the generated events.
    #[arg(long, default_value_t = 12)]
    pub attacks: u32,
    /// A configuration file for the consumer; see `authpulse config show`.
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// Removes the lake that is there (only one that the demo made) and begins anew.
    #[arg(long)]
    pub fresh: bool,
}

/// Sends the lines of files into a stream, in order, as fast as told.
///
/// Stops cleanly on SIGTERM or Ctrl-C. Run again with the same files and stream, it continues where it stopped, without loss or
/// repeat (standard input cannot be continued). Lines that do not parse are sent unchanged, so that they are judged and kept.
#[derive(ClapArgs, Debug)]
pub struct Replay {
    /// Files to send, in order; plain, gzip, bzip2 or zstd, told apart by content; `-` for standard input.
    #[arg(long, required = true, num_args = 1..)]
    pub input: Vec<String>,
    /// The stream: local:DIR, made if it is missing, or kinesis:NAME or kinesis:ARN, which must exist.
    #[arg(long)]
    pub stream: String,
    /// Shards of an embedded stream that is made.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub shards: u32,
    /// Events a second. [default: 2000]
    #[arg(long, conflicts_with_all = ["speed", "max"])]
    pub rate: Option<f64>,
    /// Event time, sped up this many times.
    #[arg(long, conflicts_with = "max")]
    pub speed: Option<f64>,
    /// As fast as the stream takes them.
    #[arg(long)]
    pub max: bool,
    /// Which times events get: `now` makes the replay look live. The first event of the input gets the time of day at which sending
    /// begins, each other one that time and its own distance from the first, divided by --speed (1 if it is not given). Every valid
    /// line is then sent in the wire form with an RFC 3339 time. A run that continues shifts as the first one did, so its events lie
    /// behind the clock by as long as it was interrupted. Not with --rate or --max: events would lie ahead of the clock.
    #[arg(long, value_enum, conflicts_with_all = ["rate", "max"])]
    pub clock: Option<ReplayClock>,
    /// Stop after this many records of the input.
    #[arg(long)]
    pub max_events: Option<u64>,
    /// Records in one append. More is faster and less smooth.
    #[arg(long)]
    pub batch_size: Option<usize>,
    /// Into Kinesis: every event as a record of its own, instead of many in one as the Kinesis Producer Library does.
    #[arg(long)]
    pub no_aggregate: bool,
    /// Into Kinesis: where it is kept how far the replay is. [default: the directory of the first input]
    #[arg(long, value_name = "DIR")]
    pub progress: Option<PathBuf>,
    /// Close an embedded stream at the end: whoever reads it then knows that nothing follows, and seals.
    #[arg(long)]
    pub close: bool,
    /// The configuration file of the consumer; its `base` decides which times are valid.
    #[arg(long)]
    pub config: Option<PathBuf>,
}

/// Which times a replay gives to events.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplayClock {
    /// The first event is now.
    Now,
}

/// The long-running service: reads a stream, scores, lands. SIGTERM stores what is decided and exits 0.
#[derive(ClapArgs, Debug)]
pub struct Consume {
    /// The stream: local:DIR, kinesis:NAME or kinesis:ARN.
    #[arg(long)]
    pub stream: String,
    /// Of a stream in Kinesis: the application, which is also the name of the table in DynamoDB where its workers keep their leases.
    #[arg(long, value_name = "NAME")]
    pub app: Option<String>,
    /// Of a stream in Kinesis: where the lake begins to read it: trim-horizon, latest or a time (RFC 3339). It counts once; what was
    /// read is continued. [default: trim-horizon]
    #[arg(long, value_name = "WHERE")]
    pub start: Option<String>,
    /// Of a stream in Kinesis: how it is read. It may be changed at any restart; nothing is lost or read twice. [default: polling]
    #[arg(long, value_enum)]
    pub reading: Option<Reading>,
    /// The lake: a directory, or s3://BUCKET/PREFIX with --catalog. Made if it is missing.
    #[arg(long)]
    pub lake: PathBuf,
    /// The catalog of a lake on S3: glue, or glue:DATABASE. [default database: authpulse]
    #[arg(long)]
    pub catalog: Option<String>,
    /// A configuration file; see `authpulse config show`.
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// End when the tips found at the start are reached; what is open stays open and continues. (A stream that its producer
    /// closed is sealed all the same: nothing can continue it.)
    #[arg(long)]
    pub until_caught_up: bool,
    /// End when the tips found at the start are reached, and seal: every open hour and day is written, and input below is late
    /// from then on.
    #[arg(long, conflicts_with = "until_caught_up")]
    pub seal: bool,
    /// End when this process ends (a process id); how the demo keeps its consumer from outliving it.
    #[arg(long, hide = true)]
    pub with_parent: Option<u32>,
}

/// Loads files straight into a lake: the same engine and rows as through a stream, faster.
///
/// Seals at the end unless --keep-open. Run again after an interruption with the same files, it continues; they may be packed
/// otherwise by then. Exits 1 if every record of the files is rejected; the lake is kept.
#[derive(ClapArgs, Debug)]
pub struct Backfill {
    /// Files to load, in order of time; plain, gzip, bzip2 or zstd, told apart by content.
    #[arg(long, required_unless_present = "give_up", num_args = 1..)]
    pub input: Vec<String>,
    /// Puts the lines of all files in order of event time before any is judged, so that none of them is late. They are sorted on
    /// disk: 256 MiB of memory, and about as much room as the files take when they are packed (for moments twice that).
    #[arg(long)]
    pub sort: bool,
    /// Where --sort puts its temporary files, which have no names. [default: the lake's directory; for a lake on S3 TMPDIR, or /tmp]
    #[arg(long, value_name = "DIR", requires = "sort")]
    pub sort_dir: Option<PathBuf>,
    /// Ends the lake's unfinished backfill where it stands, because its files are lost or cannot be read to their end. Rows stay,
    /// nothing is sealed; the rest of those files needs another lake, and this one takes a further file or a stream.
    #[arg(long, conflicts_with_all = ["input", "sort", "keep_open", "raw"])]
    pub give_up: bool,
    /// The lake: a directory, or s3://BUCKET/PREFIX with --catalog. Made if it is missing.
    #[arg(long)]
    pub lake: PathBuf,
    /// The catalog of a lake on S3: glue, or glue:DATABASE. [default database: authpulse]
    #[arg(long)]
    pub catalog: Option<String>,
    /// A configuration file; see `authpulse config show`.
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// Leave the last hours and day open, for more files or a stream that continues them.
    #[arg(long)]
    pub keep_open: bool,
    /// Keep every line in the raw zone as well.
    #[arg(long)]
    pub raw: bool,
}

/// Audits a lake: journal, files and tables against each other, row by row. Exits 1 with the first difference.
#[derive(ClapArgs, Debug)]
pub struct Verify {
    #[command(flatten)]
    pub lake: NamedLake,
    /// The configuration file it was made with.
    #[arg(long)]
    pub config: Option<PathBuf>,
}

/// Where a lake stands: positions, watermarks, lag, last entry and commit, what waits and for what.
#[derive(ClapArgs, Debug)]
pub struct Status {
    #[command(flatten)]
    pub lake: NamedLake,
    /// The stream, to tell the lag and who works on what: local:DIR, kinesis:NAME or kinesis:ARN.
    #[arg(long)]
    pub stream: Option<String>,
    /// Of a stream in Kinesis: the application, to tell who works on what.
    #[arg(long, value_name = "NAME", requires = "stream")]
    pub app: Option<String>,
    /// As JSON.
    #[arg(long)]
    pub json: bool,
    /// The configuration file it was made with.
    #[arg(long)]
    pub config: Option<PathBuf>,
}

impl Command {
    /// Whether signals ask this command for an orderly end from its beginning on. They end any other command at once; `demo`, until it
    /// replays.
    pub fn ends_in_order(&self) -> bool {
        match self {
            Command::Consume(_) | Command::Backfill(_) | Command::Replay(_) | Command::Redrive(_) => true,
            Command::Tables(TablesCommand::Maintain { every, .. }) => every.is_some(),
            _ => false,
        }
    }
}

/// Keeps a lake's tables in shape, checks them, describes them.
#[derive(Subcommand, Debug)]
pub enum TablesCommand {
    /// Makes a lake with its tables, empty, or the tables that are missing in one; on S3 the Glue database, the tables and the raw
    /// zone. Not needed before `consume` or `backfill`, which do the same: it is for those who grant permissions before the first
    /// event. Exits 1 if a table that is there differs from those that this program makes.
    Create {
        #[command(flatten)]
        lake: NamedLake,
        /// A configuration file; its table `s3` says how new objects are encrypted.
        #[arg(long)]
        config: Option<PathBuf>,
    },
    /// Merges small files, expires snapshots, removes what nothing needs. Runs beside `consume` and other engines.
    ///
    /// No row changes. It may be killed at any instant; the next run goes on. Settings are in the table `maintain` of the configuration.
    Maintain {
        #[command(flatten)]
        lake: NamedLake,
        /// Go on for ever, and begin this often: a number and s, m, h or d, such as 1h.
        #[arg(long, value_parser = parse_interval)]
        every: Option<std::time::Duration>,
        /// Change nothing; tell what would be done.
        #[arg(long)]
        dry_run: bool,
        /// As JSON, one object a run.
        #[arg(long)]
        json: bool,
        /// A configuration file; see `authpulse config show`.
        #[arg(long)]
        config: Option<PathBuf>,
    },
    /// Tells in which ways the tables differ from those that this program makes. Exits 1 if there are any.
    Check {
        #[command(flatten)]
        lake: NamedLake,
    },
    /// Tells columns, partitions, sort order, properties and size of each table.
    Describe {
        #[command(flatten)]
        lake: NamedLake,
        /// As JSON.
        #[arg(long)]
        json: bool,
        /// A configuration file; its table `maintain` says which files are small.
        #[arg(long)]
        config: Option<PathBuf>,
    },
}

/// Shows who, beside the tables, follows a lake's journals, and ends what is kept for one that does not come back.
///
/// A follower reads entry by entry and keeps something of its own, such as rows in a database. `tables maintain` keeps what one
/// lacks for as long as `keep` in the table `followers` of the configuration says (7 days), and then goes on without it.
#[derive(Subcommand, Debug)]
pub enum FollowersCommand {
    /// Tells of each follower when it registered last, what it lacks and since when, until when that is kept, and what it holds back.
    ///
    /// Changes nothing.
    List {
        #[command(flatten)]
        lake: NamedLake,
        /// As JSON.
        #[arg(long)]
        json: bool,
        /// The configuration file of `tables maintain`; its table `followers` says how long something is kept.
        #[arg(long)]
        config: Option<PathBuf>,
    },
    /// Forgets a follower: from now on nothing is kept for it. For one that was given up, or whose registration cannot be read.
    ///
    /// Nothing of the lake is removed by this, and nothing of what the follower keeps. One that still runs registers again when
    /// it goes on; one that comes back later and finds entries folded is rebuilt from the tables.
    Forget {
        /// The follower.
        name: String,
        #[command(flatten)]
        lake: NamedLake,
    },
}

/// Every setting with default, unit and meaning; checks a configuration file.
#[derive(Subcommand, Debug)]
pub enum ConfigCommand {
    /// Prints every setting with its value, default, unit and meaning; the output is itself a configuration file.
    Show {
        /// The file whose values to show.
        #[arg(long)]
        config: Option<PathBuf>,
    },
    /// Checks a file, and whether a lake can go on with it; tells every fault at once.
    Check {
        /// The file.
        config: PathBuf,
        /// A lake that exists: a directory, or s3://BUCKET/PREFIX with --catalog.
        #[arg(long)]
        lake: Option<PathBuf>,
        /// The catalog of a lake on S3: glue, or glue:DATABASE. [default database: authpulse]
        #[arg(long, requires = "lake")]
        catalog: Option<String>,
    },
}

/// Puts dead letters of a lake into a stream again, each under its user as partition key.
///
/// For what a foreign producer sent under another key, or a reshard let land elsewhere (`misrouted`), for records on which an
/// earlier version of this program failed (`failed`), and for what an earlier version did not read and this one does (`invalid`; what
/// is still no event stays, counted and named). The bytes are those that were received. Run again, it goes on behind what it has put;
/// ids of events make a repeat harmless. A letter stays in the table, so that it is told what happened. What lies below the watermark
/// of its shard by now is `late` there: redrive soon.
#[derive(ClapArgs, Debug)]
pub struct Redrive {
    #[command(flatten)]
    pub lake: NamedLake,
    /// The stream to put them into, which must exist: local:DIR, kinesis:NAME or kinesis:ARN.
    #[arg(long)]
    pub stream: String,
    /// Of this reason; may be repeated. The others would be judged the same again.
    #[arg(long, value_parser = ["misrouted", "failed", "invalid"], default_value = "misrouted")]
    pub reason: Vec<String>,
    /// Those that arrived on this day (UTC, YYYY-MM-DD) or later.
    #[arg(long, value_name = "DAY")]
    pub since: Option<authpulse_event::Day>,
    /// Those that arrived on this day (UTC, YYYY-MM-DD) or earlier.
    #[arg(long, value_name = "DAY")]
    pub until: Option<authpulse_event::Day>,
    /// Put nothing; tell what would be put.
    #[arg(long)]
    pub dry_run: bool,
    /// Into Kinesis: every event as a record of its own, instead of many in one as the Kinesis Producer Library does.
    #[arg(long)]
    pub no_aggregate: bool,
    /// Into Kinesis: where it is kept what was put. [default: the current directory]
    #[arg(long, value_name = "DIR")]
    pub progress: Option<PathBuf>,
    /// The configuration file of the consumer; its `base` decides which times are valid.
    #[arg(long)]
    pub config: Option<PathBuf>,
}

/// Shows who works on which shard, and takes leases away from workers that are gone.
///
/// Leases only say who should work. What was worked is in the journal of the lake, which fences: whatever is done here, no row is
/// lost or doubled. docs/leases.md has the rules.
#[derive(Subcommand, Debug)]
pub enum LeasesCommand {
    /// Tells shard, owner, counter, checkpoint, parents and children of every lease; with --lake also how far the lake's journal is.
    ///
    /// Changes nothing. The journal's position counts, the checkpoint follows it with each renewal. An embedded stream keeps no
    /// checkpoints.
    List {
        #[command(flatten)]
        of: LeasesOf,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Takes the owner off leases, so that the next worker that looks takes them at once instead of waiting until they expire.
    ///
    /// For workers that hang or are gone. A worker that lives finds within a third of the lease duration that it has lost the shard, and
    /// may take it again: stop it first to move its shards elsewhere. Checkpoints stay. Of a table that a leader of KCL 3 assigns
    /// nothing is released.
    #[command(group = clap::ArgGroup::new("which").required(true).args(["shard", "worker", "all"]))]
    Release {
        #[command(flatten)]
        of: LeasesOf,
        /// Of this shard, by its name in the stream; may be repeated.
        #[arg(long)]
        shard: Vec<String>,
        /// All that this worker has.
        #[arg(long)]
        worker: Option<String>,
        /// All.
        #[arg(long)]
        all: bool,
    },
    /// Removes all leases, checkpoints with them: a new lake then begins to read at --start.
    ///
    /// Only where nobody is alive: counters are watched for the lease duration (10 s, or what `lease_duration` in --config says), and an
    /// owner that renews one of them refuses the reset; of an embedded stream the locks of the workers' processes tell at once. A
    /// worker without any lease is not seen: stop all of them first. A lake that has read the stream goes on where its journal stands,
    /// for its position beats a lease's checkpoint.
    ///
    /// Of an embedded stream it also forgets which lake the stream was read into: one that was deleted may then be made anew. The lake need not be
    /// there, nor be named with --lake where the stream was read into one only.
    Reset {
        #[command(flatten)]
        of: LeasesOf,
        /// Do not look whether anybody is alive.
        #[arg(long)]
        force: bool,
    },
}

/// Whose leases.
#[derive(ClapArgs, Debug)]
pub struct LeasesOf {
    /// The stream: local:DIR, kinesis:NAME or kinesis:ARN.
    #[arg(long)]
    pub stream: String,
    /// Of a stream in Kinesis: the application, which is the name of the table of leases in DynamoDB.
    #[arg(long, value_name = "NAME")]
    pub app: Option<String>,
    /// The lake: a directory, or s3://BUCKET/PREFIX with --catalog. Of an embedded stream it says whose leases are meant.
    #[arg(long)]
    pub lake: Option<PathBuf>,
    /// The catalog of a lake on S3: glue, or glue:DATABASE. [default database: authpulse]
    #[arg(long, requires = "lake")]
    pub catalog: Option<String>,
    /// The configuration file of the workers.
    #[arg(long)]
    pub config: Option<PathBuf>,
}

/// Which stream a command is about.
#[derive(ClapArgs, Debug)]
pub struct OneStream {
    /// The stream: local:DIR, kinesis:NAME or kinesis:ARN.
    #[arg(long, required_unless_present = "place")]
    stream: Option<String>,
    /// The stream without the option, as it was written first.
    #[arg(hide = true, conflicts_with = "stream")]
    place: Option<String>,
}

impl OneStream {
    /// The stream as it was written.
    pub fn text(self) -> String {
        self.stream.or(self.place).unwrap_or_default()
    }
}

/// Makes, shows, splits, merges, closes and deletes streams, embedded ones and those in Kinesis.
#[derive(Subcommand, Debug)]
pub enum StreamCommand {
    /// Makes a stream, and waits until it can be used.
    Create {
        #[command(flatten)]
        stream: OneStream,
        /// Its shards.
        #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=256))]
        shards: u32,
        /// In Kinesis: shards come and go by themselves.
        #[arg(long, conflicts_with = "shards")]
        on_demand: bool,
        /// How long records are kept, in hours. (A stream in Kinesis keeps them for 24 hours; the AWS CLI changes that.) [default: 168]
        #[arg(long)]
        retention_hours: Option<u32>,
    },
    /// Shows the shards: name, range, whether it is open, the position of its last record, parents; in Kinesis also the consumers
    /// that are registered for enhanced fan-out.
    Describe {
        #[command(flatten)]
        stream: OneStream,
    },
    /// Splits a shard in the middle of its range.
    Split {
        /// The stream: local:DIR, kinesis:NAME or kinesis:ARN.
        #[arg(long)]
        stream: String,
        /// The shard.
        shard: String,
    },
    /// Merges two neighbours.
    Merge {
        /// The stream: local:DIR, kinesis:NAME or kinesis:ARN.
        #[arg(long)]
        stream: String,
        /// The shard with the lower range.
        left: String,
        /// The shard with the upper range.
        right: String,
    },
    /// Closes an embedded stream for good: whoever reads it to its end knows that nothing follows.
    Close {
        #[command(flatten)]
        stream: OneStream,
    },
    /// Deregisters a consumer of enhanced fan-out, which costs as long as it is registered. A `consume --reading fan-out` that runs
    /// registers it anew.
    Deregister {
        #[command(flatten)]
        stream: OneStream,
        /// The application, which is the consumer's name.
        #[arg(long, value_name = "NAME")]
        app: String,
    },
    /// Deletes a stream in Kinesis with all that is in it.
    Delete {
        #[command(flatten)]
        stream: OneStream,
        /// Says that it is meant.
        #[arg(long, required = true)]
        yes: bool,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn a_stream_is_named_by_its_option_or_stands_alone() {
        let named = |words: &[&str]| match Args::try_parse_from(words.iter().copied()).map(|args| args.command) {
            Ok(Command::Stream(StreamCommand::Describe { stream })) => Some(stream.text()),
            _ => None,
        };
        assert_eq!(named(&["authpulse", "stream", "describe", "--stream", "local:x"]).as_deref(), Some("local:x"));
        assert_eq!(named(&["authpulse", "stream", "describe", "local:x"]).as_deref(), Some("local:x"));
        assert_eq!(named(&["authpulse", "stream", "describe"]), None);
        assert_eq!(named(&["authpulse", "stream", "describe", "local:x", "--stream", "local:y"]), None);
        let split = |words: &[&str]| Args::try_parse_from([&["authpulse", "stream", "split"], words].concat()).is_ok();
        assert!(split(&["--stream", "local:x", "shard-1"]) && split(&["shard-1", "--stream", "local:x"]));
        assert!(!split(&["local:x", "shard-1"]), "which of them is the shard is not guessed");
    }
}
