//! Ctrl-C, or SIGTERM: the first asks for an orderly end that keeps what was measured, the second does not wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};
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
    /// Listens for both on a thread of its own.
    pub fn listen() -> anyhow::Result<Self> {
        let interrupt = Self::default();
        let ours = interrupt.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut terminate = {
            let _context = runtime.enter();
            signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?
        };
        let listen = move || {
            runtime.block_on(async {
                end_wanted(&mut terminate).await;
                ours.ask();
                end_wanted(&mut terminate).await;
                // Replicas end when this process does.
                std::process::exit(EXIT_INTERRUPTED);
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

/// Returns once somebody at the terminal, or another process, wants an end.
async fn end_wanted(terminate: &mut Signal) {
    tokio::select! {
        heard = tokio::signal::ctrl_c() => {
            if heard.is_err() {
                // No handler could be set: SIGTERM alone is heard.
                terminate.recv().await;
            }
        }
        _ = terminate.recv() => {}
    }
}
