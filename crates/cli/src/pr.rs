pub struct ProgressReporter;
impl ProgressReporter {
    pub fn new(_: &str, _: Option<u64>, _: &str) -> Self { Self }
    pub fn update(&mut self, _: u64) {}
    pub fn finish(&mut self) {}
}
