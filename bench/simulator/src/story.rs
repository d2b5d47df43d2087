//! What happened, for people: a line for each thing, with its time.

use qlab_kernel::Time;

/// Lines, if anybody listens.
#[derive(Debug)]
pub(crate) struct Story {
    lines: Option<Vec<String>>,
}

impl Story {
    pub(crate) fn new(is_told: bool) -> Self {
        Self { lines: is_told.then(Vec::new) }
    }

    pub(crate) fn tell(&mut self, now: Time, line: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            let (ms, ns) = (now.0 / 1_000_000, now.0 % 1_000_000);
            lines.push(format!("{ms:>6}.{ns:06} ms  {}", line()));
        }
    }

    pub(crate) fn take(&mut self) -> Vec<String> {
        self.lines.take().unwrap_or_default()
    }
}
