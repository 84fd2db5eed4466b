//! A real terminal: a tmux of its own, one shell in it, keys that are typed and what is then seen.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::netns::run;

/// How long a picture may take to become what is waited for, on an emulated CPU that others want too.
const PATIENCE: Duration = Duration::from_secs(40);

/// What a session is called.
const SESSION: &str = "lab";

/// A tmux server, ended at drop.
#[derive(Debug)]
pub struct Tmux {
    socket: PathBuf,
}

/// Of a session's terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Modes {
    /// Whether a program has the other screen, beside the shell's.
    pub alternate: bool,
    /// Whether the cursor is seen.
    pub cursor: bool,
}

impl Tmux {
    /// A shell that stands in `folder`, in a terminal of so many columns and lines. `variables` are what it has beside those of this process.
    pub fn start(folder: &Path, (width, height): (u16, u16), variables: &[(&str, &str)]) -> Result<Self> {
        let tmux = Self { socket: folder.join("tmux.sock") };
        let (width, height) = (width.to_string(), height.to_string());
        let mut command = tmux.command(&["-u", "new-session", "-d", "-s", SESSION, "-x", &width, "-y", &height]);
        command.arg("-c").arg(folder);
        command.args(["env", "-u", "NO_COLOR", "PS1=$ "]);
        command.args(variables.iter().map(|(name, value)| format!("{name}={value}"))).arg("sh");
        if let Err(error) = run(&mut command) {
            // "server exited unexpectedly", once in some hundred starts on an emulated CPU: before the shell, and for nothing of ours.
            eprintln!("lab: tmux once more: {error:#}");
            run(&mut command)?;
        }
        // Of the terminal's lines none is tmux's own.
        tmux.ask(&["set-option", "-g", "status", "off"])?;
        tmux.resize((width.parse()?, height.parse()?))?;
        tmux.wait_for("a prompt", |picture| picture.contains('$'))?;
        Ok(tmux)
    }

    /// Types a line and Enter.
    pub fn run(&self, line: &str) -> Result<()> {
        self.types(line)?;
        self.press("Enter")
    }

    /// Types text as it is.
    pub fn types(&self, text: &str) -> Result<()> {
        self.ask(&["send-keys", "-t", SESSION, "-l", "--", text])?;
        Ok(())
    }

    /// Presses a key by tmux's name of it: `Enter`, `Tab`, `Down`, `C-c`.
    pub fn press(&self, key: &str) -> Result<()> {
        self.ask(&["send-keys", "-t", SESSION, "--", key])?;
        Ok(())
    }

    /// What is on the screen, line by line without the blanks at their ends.
    pub fn picture(&self) -> Result<String> {
        self.ask(&["capture-pane", "-p", "-t", SESSION])
    }

    /// The same with the escape sequences of its colours.
    pub fn coloured(&self) -> Result<String> {
        self.ask(&["capture-pane", "-p", "-e", "-t", SESSION])
    }

    /// Gives the terminal another size.
    pub fn resize(&self, (width, height): (u16, u16)) -> Result<()> {
        self.ask(&["resize-window", "-t", SESSION, "-x", &width.to_string(), "-y", &height.to_string()])?;
        Ok(())
    }

    /// How the terminal stands.
    pub fn modes(&self) -> Result<Modes> {
        let said = self.ask(&["display-message", "-p", "-t", SESSION, "#{alternate_on}#{cursor_flag}"])?;
        match said.trim() {
            both if both.len() == 2 => Ok(Modes { alternate: both.starts_with('1'), cursor: both.ends_with('1') }),
            other => bail!("tmux said {other:?} of its modes"),
        }
    }

    /// The picture, once it is as wanted; an error that carries the last one where it never is.
    pub fn wait_for(&self, goal: &str, is: impl Fn(&str) -> bool) -> Result<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let picture = self.picture()?;
            if is(&picture) {
                return Ok(picture);
            }
            if Instant::now() > deadline {
                bail!("not within {PATIENCE:?}: {goal}; the screen was\n{picture}");
            }
            thread::sleep(Duration::from_millis(100));
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("tmux");
        // No file of whoever runs this.
        command.arg("-f").arg("/dev/null").arg("-S").arg(&self.socket).args(arguments).env_remove("TMUX");
        command
    }

    fn ask(&self, arguments: &[&str]) -> Result<String> {
        let output = run(&mut self.command(arguments)).with_context(|| format!("tmux {arguments:?}"))?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        if let Err(error) = self.ask(&["kill-server"]) {
            eprintln!("lab: {error:#}");
        }
    }
}
