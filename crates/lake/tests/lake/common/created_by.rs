//! Parquet files from two versions of the program differ only in the name by which each version calls itself.

/// A Parquet file without the name of the program that wrote it, and without the footer's length, which includes that name.
pub fn without_created_by(file: &[u8]) -> Vec<u8> {
    const NAME: &[u8] = b"authpulse ";
    let (before, end) = file.split_at(file.len() - 8);
    let footer = u32::from_le_bytes(end[..4].try_into().unwrap()) as usize;
    assert_eq!(&end[4..], b"PAR1");
    let (data, footer) = before.split_at(before.len() - footer);
    let at: Vec<usize> = (1..footer.len()).filter(|at| footer[*at..].starts_with(NAME)).collect();
    let [at] = at[..] else { panic!("the footer names its program {} times", at.len()) };
    // Thrift's compact protocol puts the length before the text: one byte for less than 128.
    let bytes = usize::from(footer[at - 1]);
    assert!((NAME.len()..128).contains(&bytes));
    [data, &footer[..at - 1], &footer[at + bytes..]].concat()
}
