//! What was run: the commit of the checkout, and what the program was built with.

use std::process::Command;

use qlab_report::Code;

/// Reads the facts. The commit is that of the checkout in the working directory; outside one it is empty and counts as
/// changed.
pub fn code() -> Code {
    let commit = git(&["rev-parse", "HEAD"]);
    let changes = git(&["status", "--porcelain", "--untracked-files=no"]);
    Code {
        git_dirty: commit.is_none() || changes.is_none_or(|changes| !changes.is_empty()),
        git_commit: commit.unwrap_or_default(),
        rustc: env!("QLAB_RUSTC").to_owned(),
        profile: env!("QLAB_PROFILE").to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

fn git(arguments: &[&str]) -> Option<String> {
    let output =
        Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_knows_what_built_it() {
        let code = code();
        assert!(code.rustc.starts_with("rustc ") && !code.profile.is_empty());
        assert!(code.git_dirty || code.git_commit.len() >= 40, "a clean checkout has a commit");
    }
}
