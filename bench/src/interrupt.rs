//! Ctrl-C: the first asks for an orderly end that keeps what was measured, the second does not wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use tokio::sync::Notify;

/// Exit code of a program that Ctrl-C has ended, by custom.
const EXIT_INTERRUPTED: i32 = 130;

/// Whether the laboratory was asked to end. Clones are the same question.
#[derive(Clone, Debug, Default)]
pub struct Interrupt {
    asked: Arc<AtomicBool>,
    told: Arc<Notify>,
}

impl Interrupt {
    /// Listens for Ctrl-C on a thread of its own.
    pub fn listen() -> anyhow::Result<Self> {
        let interrupt = Self::default();
        let ours = interrupt.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listen = move || {
            runtime.block_on(async {
                if tokio::signal::ctrl_c().await.is_ok() {
                    ours.ask();
                }
                if tokio::signal::ctrl_c().await.is_ok() {
                    // Replicas end when this process does.
                    std::process::exit(EXIT_INTERRUPTED);
                }
            });
        };
        std::thread::Builder::new()
            .name("interrupt".into())
            .spawn(listen)
            .context("cannot listen for Ctrl-C")?;
        Ok(interrupt)
    }

    /// Asks for an end.
    pub fn ask(&self) {
        self.asked.store(true, Ordering::SeqCst);
        self.told.notify_one();
    }

    /// Whether the end was asked for.
    pub fn is_asked(&self) -> bool {
        self.asked.load(Ordering::SeqCst)
    }

    /// Waits until the end is asked for.
    pub async fn asked(&self) {
        while !self.is_asked() {
            self.told.notified().await;
        }
    }
}
