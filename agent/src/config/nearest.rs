//! "Did you mean": the known word that is nearest to one that is not.

/// The nearest of `known`, if it is near enough to be a slip of the fingers.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    // An underscore for a dash and a singular for a plural are the commonest slips: they count half.
    let distance = |known: &str| {
        let plain = known.to_lowercase();
        if plain.replace('_', "-") == word.replace('_', "-") {
            return 0;
        }
        strsim::damerau_levenshtein(&plain, &word)
    };
    let allowed = 1.max(word.chars().count() / 3);
    known
        .into_iter()
        .map(|known| (distance(known), known))
        .filter(|&(d, _)| d <= allowed)
        .min_by_key(|&(d, _)| d)
        .map(|(_, known)| known)
}

/// Names that are shown where none is near: lists of tenants are long.
const SHOWN: usize = 32;

/// The cure for a word that is not among `known`: the nearest one, or all of them.
pub fn cure<'a>(word: &str, what: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    match nearest(word, known.clone()) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => {
            let all: Vec<&str> = known.into_iter().collect();
            match all.len() {
                0 => format!("there are no {what}"),
                many if many > SHOWN => {
                    format!("{what}: {} and {} more", all[..SHOWN].join(", "), many - SHOWN)
                }
                _ => format!("{what}: {}", all.join(", ")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [&str; 4] = ["source", "source-port", "class", "dscp"];

    #[test]
    fn a_slip_finds_its_key() {
        assert_eq!(nearest("clas", KEYS), Some("class"));
        assert_eq!(nearest("sorce", KEYS), Some("source"));
        assert_eq!(nearest("source_port", KEYS), Some("source-port"));
        assert_eq!(nearest("DSCP", KEYS), Some("dscp"));
    }

    #[test]
    fn a_long_list_is_not_shown_whole() {
        let names: Vec<String> = (0..SHOWN + 7).map(|number| number.to_string()).collect();
        let text = cure("colour", "tenants", names.iter().map(String::as_str));
        assert!(text.starts_with("tenants: 0, 1, ") && text.ends_with(", 31 and 7 more"), "{text}");
    }

    #[test]
    fn a_word_of_another_world_finds_nothing() {
        assert_eq!(nearest("colour", KEYS), None);
        assert_eq!(nearest("", KEYS), None);
        assert_eq!(cure("colour", "keys here", KEYS), "keys here: source, source-port, class, dscp");
    }
}
