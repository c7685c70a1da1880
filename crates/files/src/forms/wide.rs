//! Text in two or four bytes a character: what PowerShell's `>` and some programs for Windows write.

use super::{Form, Next};

/// How many bytes are looked at.
const LOOK_BYTES: usize = 4_096;
/// Fewer bytes than these tell nothing without a mark.
const LEAST_BYTES: usize = 8;

/// UTF-16 or UTF-32, by its mark, or by the NULs between ASCII characters.
pub(super) fn of(sample: &[u8]) -> Option<Form> {
    let look = &sample[..sample.len().min(LOOK_BYTES)];
    let zeros = |offset: usize, step: usize| {
        let bytes = look.iter().skip(offset).step_by(step);
        let n = bytes.len().max(1);
        bytes.filter(|byte| **byte == 0).count() as f64 / n as f64
    };
    let (mostly, seldom) = (0.75, 0.25);
    let long = look.len() >= LEAST_BYTES;
    let encoding = match look {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => "UTF-32",
        // Text has few NULs in at least one half of its bytes; other files that begin so may have any number.
        [0xff, 0xfe] | [0xfe, 0xff] => "UTF-16",
        [0xff, 0xfe, ..] if zeros(1, 2) > zeros(0, 2) => "UTF-16",
        [0xfe, 0xff, ..] if zeros(0, 2) > zeros(1, 2) => "UTF-16",
        _ if long && zeros(0, 4) < seldom && (1..4).all(|at| zeros(at, 4) > mostly) => "UTF-32LE",
        _ if long && zeros(3, 4) < seldom && (0..3).all(|at| zeros(at, 4) > mostly) => "UTF-32BE",
        _ if long && zeros(0, 2) < seldom && zeros(1, 2) > mostly => "UTF-16LE",
        _ if long && zeros(1, 2) < seldom && zeros(0, 2) > mostly => "UTF-16BE",
        _ => return None,
    };
    let what = format!(
        "text in {encoding} (PowerShell writes it so, unless told `-Encoding utf8`), and events are read as UTF-8"
    );
    Some(Form::new(what, Next::Filter(format!("iconv -f {encoding} -t UTF-8"))))
}
