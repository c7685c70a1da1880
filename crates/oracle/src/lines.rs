//! Splitting a file's bytes into the payloads of its records.

use crate::model::LINE_BYTES_MAX;

/// The payloads of all records of a file that is already decompressed.
pub fn split_lines(file: &[u8]) -> Vec<Vec<u8>> {
    split_lines_with_numbers(file).into_iter().map(|(_, payload)| payload).collect()
}

/// As [`split_lines`], with each line's number in the file. Numbers count from 1 and include lines that are no record.
///
/// "It ends with LF or the end of the file, and one CR right before that is dropped. A byte-order mark at the start of
/// a file is skipped. A line above 1,048,576 bytes (without mark and line end) is one invalid record, blank or not;
/// any other line of blanks only is no record. The payload is the line without mark and line end."
///
/// An empty line counts as one of blanks only.
pub fn split_lines_with_numbers(file: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let file = file.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(file);
    let mut records = Vec::new();
    for (number, line) in (1..).zip(file.split(|&byte| byte == b'\n')) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let blank = line.iter().all(|&byte| byte == b' ' || byte == b'\t');
        if blank && line.len() <= LINE_BYTES_MAX {
            continue;
        }
        records.push((number, line.to_vec()));
    }
    records
}
