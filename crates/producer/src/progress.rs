//! How far a long command is, on standard error: a bar on a terminal, a plain line now and then elsewhere.

use std::io;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};

/// The shortest time between two plain lines. A log keeps every line, so there should be few.
pub const PLAIN_INTERVAL: Duration = Duration::from_secs(10);

/// Where progress is shown.
#[derive(Clone, Copy)]
pub struct Audience {
    /// Takes a plain line, without waiting.
    pub tell: fn(&str),
    /// The terminal that a bar is drawn on instead, if there is one.
    pub bar: Option<Screen>,
}

/// A terminal, as far as a bar needs one.
#[derive(Clone, Copy, Debug)]
pub struct Screen {
    /// How many columns it has.
    pub width: fn() -> u16,
    /// Takes a picture of the bar, without waiting.
    pub draw: fn(Picture),
}

/// What goes to a terminal in one piece.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Picture {
    /// Text and the codes that move the cursor.
    pub bytes: Vec<u8>,
    /// Whether it leaves a bar on the screen: then another picture follows, and this one may be left out. The last one takes the bar away.
    pub shows_bar: bool,
}

/// The most pictures a second.
const PICTURES_A_SECOND: u8 = 10;

/// Collects a picture.
#[derive(Debug)]
struct Canvas {
    screen: Screen,
    picture: Mutex<Picture>,
}

impl Canvas {
    fn add(&self, text: &str, shows_bar: bool) -> io::Result<()> {
        let mut picture = self.picture.lock().unwrap_or_else(PoisonError::into_inner);
        picture.bytes.extend_from_slice(text.as_bytes());
        picture.shows_bar |= shows_bar;
        Ok(())
    }

    fn moved(&self, n: usize, direction: char) -> io::Result<()> {
        if n > 0 { self.add(&format!("\x1b[{n}{direction}"), false) } else { Ok(()) }
    }
}

impl TermLike for Canvas {
    fn width(&self) -> u16 {
        (self.screen.width)()
    }
    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.moved(n, 'A')
    }
    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.moved(n, 'B')
    }
    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.moved(n, 'C')
    }
    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.moved(n, 'D')
    }
    fn write_line(&self, text: &str) -> io::Result<()> {
        self.add(&format!("{text}\n"), false)
    }
    fn write_str(&self, text: &str) -> io::Result<()> {
        self.add(text, !text.trim().is_empty())
    }
    fn clear_line(&self) -> io::Result<()> {
        self.add("\r\x1b[2K", false)
    }
    fn flush(&self) -> io::Result<()> {
        let picture = std::mem::take(&mut *self.picture.lock().unwrap_or_else(PoisonError::into_inner));
        if !picture.bytes.is_empty() {
            (self.screen.draw)(picture);
        }
        Ok(())
    }
}

static AUDIENCE: OnceLock<Audience> = OnceLock::new();

/// Says where progress is shown in this process, once; until then it is shown nowhere.
pub fn set_audience(audience: Audience) {
    // The first one stays.
    let _ = AUDIENCE.set(audience);
}

/// Shows how far a command is. Dropping it without [`finish`](ProgressReporter::finish) clears the bar, so that an error message stands
/// alone.
pub struct ProgressReporter {
    output: Output,
}

enum Output {
    Bar(ProgressBar),
    Plain { lines: PlainLines, start: Instant },
}

impl ProgressReporter {
    /// Begins to show progress. `label` says what is being done, `unit` what is counted (`events`), `total` how many there will be, if
    /// known.
    pub fn new(label: &str, total: Option<u64>, unit: &str) -> Self {
        let output = match AUDIENCE.get().and_then(|audience| audience.bar) {
            Some(screen) => Output::Bar(bar(screen, label, total, unit)),
            None => Output::Plain { lines: PlainLines::new(label, total, unit), start: Instant::now() },
        };
        ProgressReporter { output }
    }

    /// Counts from here: what an earlier run did says nothing about the rate of this one.
    pub fn start_at(&mut self, done: u64) {
        match &mut self.output {
            Output::Bar(bar) => {
                bar.set_position(done);
                bar.reset_eta();
            }
            Output::Plain { lines, start } => lines.start_at(done, start.elapsed()),
        }
    }

    /// A better guess of the total.
    pub fn set_total(&mut self, total: u64) {
        match &mut self.output {
            Output::Bar(bar) if bar.length() != Some(total) => bar.set_length(total),
            Output::Bar(_) => {}
            Output::Plain { lines, .. } => lines.total = Some(total),
        }
    }

    /// Shows that so many are done in all. Cheap enough for every batch, not for every event.
    pub fn update(&mut self, done: u64) {
        match &mut self.output {
            Output::Bar(bar) => bar.set_position(done),
            Output::Plain { lines, start } => {
                if let Some(line) = lines.update(done, start.elapsed()) {
                    tell(&line);
                }
            }
        }
    }

    /// Takes the bar away, or writes a last line if there was one before. The command's own summary follows.
    pub fn finish(&mut self) {
        match &mut self.output {
            Output::Bar(bar) => bar.finish_and_clear(),
            Output::Plain { lines, start } => {
                if let Some(line) = lines.finish(start.elapsed()) {
                    tell(&line);
                }
            }
        }
    }
}

fn bar(screen: Screen, label: &str, total: Option<u64>, unit: &str) -> ProgressBar {
    let template = match total {
        Some(_) => "{prefix} {wide_bar} {human_pos}/{human_len} {msg}, {per_sec:.0}, {eta} left",
        None => "{prefix} {spinner} {human_pos} {msg}, {per_sec:.0}, {elapsed}",
    };
    let canvas = Canvas { screen, picture: Mutex::default() };
    let target = ProgressDrawTarget::term_like_with_hz(Box::new(canvas), PICTURES_A_SECOND);
    let bar = ProgressBar::with_draw_target(total, target);
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.with_style(style).with_prefix(label.to_owned()).with_message(unit.to_owned())
}

fn tell(line: &str) {
    if let Some(audience) = AUDIENCE.get() {
        (audience.tell)(line);
    }
}

/// The plain lines; callers hand in the time.
struct PlainLines {
    label: String,
    unit: String,
    total: Option<u64>,
    done: u64,
    /// What the last line said, and when; the next line's rate counts from there.
    told: (u64, Duration),
    begin: (u64, Duration),
}

impl PlainLines {
    fn new(label: &str, total: Option<u64>, unit: &str) -> Self {
        let begin = (0, Duration::ZERO);
        PlainLines { label: label.to_owned(), unit: unit.to_owned(), total, done: 0, told: begin, begin }
    }

    fn start_at(&mut self, done: u64, now: Duration) {
        self.done = done;
        self.begin = (done, now);
        self.told = self.begin;
    }

    fn update(&mut self, done: u64, now: Duration) -> Option<String> {
        self.done = done;
        if now.saturating_sub(self.told.1) < PLAIN_INTERVAL {
            return None;
        }
        let rate = rate(self.told, (done, now));
        self.told = (done, now);
        let eta = match self.total {
            Some(total) if rate >= 0.5 => clock(total.saturating_sub(done) as f64 / rate),
            _ => "unknown".to_owned(),
        };
        Some(format!("{}: {}={done} rate={rate:.0}/s eta={eta}", self.label, self.unit))
    }

    fn finish(&mut self, now: Duration) -> Option<String> {
        if self.told == self.begin {
            return None;
        }
        let rate = rate(self.begin, (self.done, now));
        let took = clock(now.saturating_sub(self.begin.1).as_secs_f64());
        Some(format!("{}: {}={} rate={rate:.0}/s took={took}", self.label, self.unit, self.done))
    }
}

/// The rate between two points, a second.
fn rate(from: (u64, Duration), to: (u64, Duration)) -> f64 {
    let seconds = to.1.saturating_sub(from.1).as_secs_f64();
    if seconds > 0.0 { to.0.saturating_sub(from.0) as f64 / seconds } else { 0.0 }
}

/// A duration as `45s`, `12m05s` or `3h07m`.
fn clock(seconds: f64) -> String {
    let seconds = seconds.round() as u64;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn plain_lines_come_at_most_every_ten_seconds() {
        let mut lines = PlainLines::new("replay", Some(10_000), "events");
        assert_eq!(lines.update(1_000, seconds(9)), None);
        assert_eq!(lines.update(2_000, seconds(10)).as_deref(), Some("replay: events=2000 rate=200/s eta=40s"));
        assert_eq!(lines.update(3_000, seconds(19)), None);
        assert_eq!(lines.update(2_100, seconds(20)).as_deref(), Some("replay: events=2100 rate=10/s eta=13m10s"));
        assert_eq!(lines.update(2_100, seconds(30)).as_deref(), Some("replay: events=2100 rate=0/s eta=unknown"));
        lines.update(10_000, seconds(31));
        assert_eq!(lines.finish(seconds(40)).as_deref(), Some("replay: events=10000 rate=250/s took=40s"));
    }

    #[test]
    fn a_short_run_says_nothing_and_an_earlier_run_does_not_count() {
        let mut lines = PlainLines::new("replay", None, "events");
        lines.start_at(5_000, seconds(1));
        assert_eq!(lines.update(6_000, seconds(2)), None);
        assert_eq!(lines.finish(seconds(2)), None);
        assert_eq!(lines.update(6_000, seconds(11)).as_deref(), Some("replay: events=6000 rate=100/s eta=unknown"));
    }

    #[test]
    fn a_bar_is_drawn_in_whole_pictures_and_the_last_one_takes_it_away() {
        static DRAWN: Mutex<Vec<Picture>> = Mutex::new(Vec::new());
        let screen = Screen { width: || 80, draw: |picture| DRAWN.lock().expect("no panic").push(picture) };
        let mut reporter = ProgressReporter { output: Output::Bar(bar(screen, "replay", Some(1_000), "events")) };
        reporter.update(10);
        reporter.update(500);
        reporter.finish();
        let drawn = DRAWN.lock().expect("no panic").clone();
        let (last, shown) = drawn.split_last().expect("it was drawn");
        assert!(!shown.is_empty() && shown.iter().all(|picture| picture.shows_bar), "{drawn:?}");
        assert!(String::from_utf8_lossy(&shown[0].bytes).contains("replay"), "{drawn:?}");
        assert_eq!(last, &Picture { bytes: b"\r\x1b[2K".to_vec(), shows_bar: false });
    }

    #[test]
    fn durations_are_short() {
        assert_eq!([clock(0.4), clock(59.9), clock(3_599.0), clock(11_220.0)], ["0s", "1m00s", "59m59s", "3h07m"]);
    }
}
