//! What follows from the program alone: completions and the manual page.

use clap::CommandFactory;

use super::{Cli, Outcome, print};

pub use clap_complete::Shell;

/// Completions for one shell.
pub fn completions(shell: Shell) -> anyhow::Result<Outcome> {
    let mut bytes = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "lanekeeper", &mut bytes);
    print(&String::from_utf8(bytes)?)?;
    Ok(Outcome::Fine)
}

/// The manual page, one for all verbs.
pub fn man() -> anyhow::Result<Outcome> {
    print(&page()?)?;
    Ok(Outcome::Fine)
}

/// roff. One page holds each verb with its flags: an operator looks up a command, not a page of a page.
fn page() -> anyhow::Result<String> {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let mut bytes = Vec::new();
    let man = clap_mangen::Man::new(command.clone());
    man.render_title(&mut bytes)?;
    man.render_name_section(&mut bytes)?;
    man.render_synopsis_section(&mut bytes)?;
    man.render_description_section(&mut bytes)?;
    man.render_options_section(&mut bytes)?;
    bytes.extend_from_slice(b".SH COMMANDS\n");
    for verb in command.get_subcommands().flat_map(forms) {
        bytes.extend_from_slice(verb_section(verb).as_bytes());
        for verb in verb.get_subcommands().filter(|verb| verb.get_name() != "help") {
            bytes.extend_from_slice(verb_section(verb).as_bytes());
        }
    }
    bytes.extend_from_slice(EXIT.as_bytes());
    Ok(String::from_utf8(bytes)?)
}

const EXIT: &str = ".SH \"EXIT STATUS\"\n0 fine, 1 a finding or a difference, 2 an error.\n";

/// The verb, or each of those that stand behind it.
fn forms(verb: &clap::Command) -> Vec<&clap::Command> {
    let own: Vec<_> = verb.get_subcommands().filter(|form| form.get_name() != "help").collect();
    if own.is_empty() { vec![verb] } else { own }
}

fn verb_section(verb: &clap::Command) -> String {
    let usage = verb.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ");
    let mut section =
        format!(".SS {}\n{}\n", roff(usage), roff(&verb.get_about().map(ToString::to_string).unwrap_or_default()));
    for argument in verb.get_arguments().filter(|argument| !argument.is_global_set() && argument.get_id() != "help") {
        let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
        section += &format!(".TP\n\\fB{}\\fR\n{}\n", roff(&spelling(argument)), roff(&help));
    }
    section
}

fn spelling(argument: &clap::Arg) -> String {
    let value =
        argument.get_value_names().map(|names| names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(" "));
    let takes = argument.get_action().takes_values();
    match (argument.get_long(), value) {
        (Some(long), Some(value)) if takes => format!("--{long} {value}"),
        (Some(long), _) => format!("--{long}"),
        (None, Some(value)) => value,
        (None, None) => argument.get_id().to_string(),
    }
}

/// Dashes that can be copied, and no line that troff takes for a request.
fn roff(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-").replace('\n', " ");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manual_has_every_verb_and_flag() {
        let page = page().unwrap();
        for verb in Cli::command().get_subcommands() {
            assert!(page.contains(&format!(".SS lanekeeper {}", roff(verb.get_name()))), "{}\n{page}", verb.get_name());
            let arguments = forms(verb).into_iter().flat_map(clap::Command::get_arguments);
            for flag in arguments.filter_map(|argument| argument.get_long()).filter(|flag| *flag != "help") {
                assert!(page.contains(&format!("\\fB\\-\\-{}", roff(flag))), "{flag}");
            }
        }
        assert!(page.contains("runtime\\-dir"), "{page}");
        assert!(page.contains(".SS lanekeeper rules add ") && page.contains("\\fB\\-\\-before NAME"), "{page}");
    }

    #[test]
    fn a_dash_at_the_start_is_no_request() {
        assert_eq!(roff(".x-y"), "\\&.x\\-y");
    }
}
