//! `top`: samples of the running agent on a terminal, or look by look as text.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::{Duration, Instant};

use anyhow::{anyhow, bail};
use clap::Args;
use futures::StreamExt;
use ratatui::crossterm::event::{Event, EventStream};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{interval, sleep_until};

use super::{Outcome, print};
use crate::control::{Reply, Request, client};
use crate::top::terminal::Terminal;
use crate::top::{Act, Choice, Environment, Minute, Options, Rates, Sample, Screen, Sort, View, delay, plain};

/// What is shown, and how.
#[derive(Debug, Args)]
pub struct Top {
    /// Write look by look as text instead of a screen; ends with an error where the agent does not answer
    #[arg(short, long)]
    batch: bool,
    /// How many looks, then end
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    iterations: Option<u64>,
    /// Time between two looks: 0.2 to 3600
    #[arg(short, long, value_name = "SECONDS", default_value = "2", value_parser = delay::parse)]
    delay: Duration,
    /// What is listed
    #[arg(long, value_enum, default_value = "classes")]
    view: View,
    /// In which order
    #[arg(long, value_enum, default_value = "bits")]
    sort: Sort,
    /// The other way round
    #[arg(long)]
    reverse: bool,
    /// Only rows whose name or state has this text
    #[arg(long, value_name = "TEXT", default_value = "")]
    filter: String,
    /// One JSON object a look with all views, as text
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn top(socket: &Path, top: &Top) -> anyhow::Result<Outcome> {
    let choice = Choice { sort: top.sort, reversed: top.reverse, filter: top.filter.clone() };
    if top.batch || top.json {
        return batch(socket, top, &choice);
    }
    let environment = Environment::read();
    if !std::io::stdout().is_terminal() || !environment.can_draw() {
        bail!(
            "standard output is no terminal that has a screen: write `lanekeeper top --batch` for text, \
             or `lanekeeper status --json` for a program"
        );
    }
    let first = ask(socket)?;
    let mut screen = Screen::new(Options { view: top.view, choice, delay: top.delay, look: environment.look() });
    screen.on_sample(first, Duration::ZERO);
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(show(socket, screen, top.iterations));
    // An agent that hangs is not waited for.
    runtime.shutdown_background();
    outcome
}

fn batch(socket: &Path, top: &Top, choice: &Choice) -> anyhow::Result<Outcome> {
    let (mut before, mut minute) = (ask(socket)?, Minute::default());
    let mut looks = 0;
    while top.iterations.is_none_or(|most| looks < most) {
        minute.remember(&before);
        std::thread::sleep(top.delay);
        let after = ask(socket)?;
        let mut rates = Rates::of(Some(&before), &after);
        minute.fill(&after, &mut rates);
        match top.json {
            true => print(&(serde_json::to_string(&rates)? + "\n"))?,
            false if looks == 0 => print(&plain(&after, &rates, top.view, choice))?,
            false => print(&format!("\n{}", plain(&after, &rates, top.view, choice)))?,
        }
        before = after;
        looks += 1;
    }
    Ok(Outcome::Fine)
}

/// Until a key, a signal or the last look ends it.
async fn show(socket: &Path, mut screen: Screen, iterations: Option<u64>) -> anyhow::Result<Outcome> {
    let begin = Instant::now();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (questions, mut answers) = asker(socket.to_owned());
    let mut terminal = Terminal::take()?;
    let mut keys = EventStream::new();
    // How long an answer is late is said each second.
    let mut ages = interval(Duration::from_secs(1));
    let (mut asked, mut waiting, mut looks) = (begin, false, 0);
    while iterations.is_none_or(|most| looks < most) {
        terminal.draw(|frame| screen.draw(frame, begin.elapsed()))?;
        let due = pin!(sleep_until((asked + screen.delay()).into()));
        tokio::select! {
            key = keys.next() => match key {
                Some(Ok(Event::Key(key))) => match screen.on_key(key) {
                    Act::Show => {}
                    Act::Redraw => terminal.forget()?,
                    Act::Suspend => terminal.suspend()?,
                    Act::Leave => break,
                },
                // A new size is drawn as the next picture is.
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.into()),
                None => break,
            },
            () = due, if !waiting => {
                (asked, waiting) = (Instant::now(), true);
                questions.send(())?;
            }
            Some(answer) = answers.recv() => {
                waiting = false;
                looks += 1;
                match answer {
                    Ok(sample) => screen.on_sample(sample, begin.elapsed()),
                    Err(error) => screen.on_lost(format!("{error:#}")),
                }
            }
            _ = ages.tick() => {}
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    Ok(Outcome::Fine)
}

/// Asks on a thread of its own, which waits for as long as it takes.
fn asker(socket: PathBuf) -> (std::sync::mpsc::Sender<()>, mpsc::Receiver<anyhow::Result<Sample>>) {
    let (questions, asked) = std::sync::mpsc::channel();
    let (answer, answers) = mpsc::channel(1);
    std::thread::spawn(move || while asked.recv().is_ok() && answer.blocking_send(ask(&socket)).is_ok() {});
    (questions, answers)
}

fn ask(socket: &Path) -> anyhow::Result<Sample> {
    match client::ask(socket, &Request::Sample {})? {
        Reply::Sample { sample } => Ok(*sample),
        Reply::Refused { error } => Err(anyhow!(error)),
        Reply::Status { .. }
        | Reply::Rules { .. }
        | Reply::Done { .. }
        | Reply::Observing {}
        | Reply::Seen { .. }
        | Reply::Unseen { .. } => {
            bail!("the agent answered a question that was not asked")
        }
    }
}
