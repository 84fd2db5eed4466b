use super::super::rates::Rate;
use super::*;

fn press(screen: &mut Screen, keys: &[KeyCode]) -> Act {
    keys.iter().fold(Act::Show, |_, &key| screen.on_key(KeyEvent::from(key)))
}

fn types(screen: &mut Screen, text: &str) -> Act {
    press(screen, &text.chars().map(KeyCode::Char).collect::<Vec<_>>())
}

fn control(screen: &mut Screen, letter: char) -> Act {
    screen.on_key(KeyEvent::new(KeyCode::Char(letter), KeyModifiers::CONTROL))
}

/// With these classes, each with half the bits of the one before.
fn screen(names: &[&str]) -> Screen {
    let mut screen = Screen::new(Options { delay: Duration::from_secs(2), ..Options::default() });
    let row = |(name, bits): (&&str, f64)| Row {
        name: (*name).to_owned(),
        out: Some(Rate { packets: 1.0, bits }),
        ..Row::default()
    };
    screen.rates.classes = names.iter().zip((1..).map(|n| 1.0 / f64::from(n))).map(row).collect();
    screen.room = 2;
    screen
}

fn names(screen: &Screen) -> Vec<&str> {
    screen.shown().into_iter().map(|row| row.name.as_str()).collect()
}

#[test]
fn see_keys_leave_suspend_and_redraw() {
    for key in [KeyCode::Char('q'), KeyCode::Char('Q'), KeyCode::F(10)] {
        assert_eq!(press(&mut screen(&[]), &[key]), Act::Leave);
    }
    for (letter, act) in [('c', Act::Leave), ('z', Act::Suspend), ('l', Act::Redraw), ('x', Act::Show)] {
        assert_eq!(control(&mut screen(&[]), letter), act);
    }
    // Also while something else is typed; a q is then a letter.
    for begin in ["/", "d"] {
        let mut screen = screen(&[]);
        assert_eq!((types(&mut screen, begin), types(&mut screen, "q")), (Act::Show, Act::Show));
        assert_eq!(control(&mut screen, 'c'), Act::Leave);
    }
    let mut screen = screen(&[]);
    let released = KeyEvent { kind: KeyEventKind::Release, ..KeyEvent::from(KeyCode::Char('q')) };
    assert_eq!(screen.on_key(released), Act::Show);
}

#[test]
fn see_digits_and_tab_choose_the_view() {
    let mut screen = screen(&["a", "b"]);
    types(&mut screen, "j");
    for (digit, view) in ('1'..='5').zip(View::ALL) {
        types(&mut screen, &digit.to_string());
        assert_eq!(screen.options.view, view);
    }
    assert_eq!(screen.chosen, None, "another view has other rows");
    press(&mut screen, &[KeyCode::Tab, KeyCode::Right]);
    assert_eq!(screen.options.view, View::Lanes);
    press(&mut screen, &[KeyCode::BackTab, KeyCode::Left]);
    assert_eq!(screen.options.view, View::Rules);
    types(&mut screen, "06");
    assert_eq!(screen.options.view, View::Rules);
}

#[test]
fn see_letters_and_arrows_choose_the_order() {
    let mut screen = screen(&["b", "a"]);
    assert_eq!(names(&screen), ["b", "a"]);
    types(&mut screen, "N");
    assert_eq!(names(&screen), ["a", "b"]);
    types(&mut screen, "R");
    assert_eq!(names(&screen), ["b", "a"]);
    for (letter, sort) in [
        ("B", Sort::Bits),
        ("P", Sort::Packets),
        ("E", Sort::Errors),
        ("F", Sort::Fallback),
        ("S", Sort::State),
        ("N", Sort::Name),
        ("O", Sort::File),
    ] {
        types(&mut screen, letter);
        assert_eq!((screen.options.choice.sort, screen.options.choice.reversed), (sort, false));
    }
    types(&mut screen, ">");
    assert_eq!(screen.options.choice.sort, Sort::Bits);
    types(&mut screen, "<<");
    assert_eq!(screen.options.choice.sort, Sort::Name);
}

#[test]
fn see_a_chosen_row_is_followed_where_its_order_changes() {
    let mut screen = screen(&["a", "b", "c", "d"]);
    let chosen = |screen: &Screen| {
        let rows = screen.shown();
        rows[screen.place(&rows)].name.clone()
    };
    assert_eq!(chosen(&screen), "a");
    types(&mut screen, "jj");
    assert_eq!(chosen(&screen), "c");
    types(&mut screen, "R");
    assert_eq!((chosen(&screen), screen.place(&screen.shown())), ("c".into(), 1));
    types(&mut screen, "R");
    press(&mut screen, &[KeyCode::PageUp]);
    assert_eq!(chosen(&screen), "a");
    // The first one is whichever is first.
    types(&mut screen, "R");
    assert_eq!(chosen(&screen), "d");
    types(&mut screen, "R");
    press(&mut screen, &[KeyCode::PageDown]);
    assert_eq!(chosen(&screen), "c");
    types(&mut screen, "G");
    press(&mut screen, &[KeyCode::Down]);
    assert_eq!(chosen(&screen), "d");
    press(&mut screen, &[KeyCode::Home, KeyCode::Up]);
    assert_eq!(chosen(&screen), "a");
    types(&mut screen, "Gg");
    assert_eq!(chosen(&screen), "a");
    // Gone.
    types(&mut screen, "G");
    screen.rates.classes.pop();
    assert_eq!(chosen(&screen), "a");
}

#[test]
fn see_a_filter_shows_as_it_is_typed_and_is_kept_or_taken_back() {
    let mut screen = screen(&["voice", "video", "bulk"]);
    types(&mut screen, "/v");
    assert_eq!(names(&screen), ["voice", "video"]);
    types(&mut screen, "id");
    press(&mut screen, &[KeyCode::Backspace, KeyCode::Char('d'), KeyCode::Enter]);
    assert_eq!((names(&screen), &screen.mode), (vec!["video"], &Mode::Keys));
    types(&mut screen, "/x");
    assert_eq!(names(&screen), Vec::<&str>::new());
    press(&mut screen, &[KeyCode::Esc]);
    assert_eq!(names(&screen), ["video"]);
    types(&mut screen, "/");
    control(&mut screen, 'u');
    assert_eq!(names(&screen).len(), 3);
    types(&mut screen, "bulk");
    press(&mut screen, &[KeyCode::Enter, KeyCode::Esc]);
    assert_eq!(names(&screen).len(), 3);
}

#[test]
fn see_a_delay_that_is_none_is_refused_with_what_would_be_one() {
    let mut screen = screen(&[]);
    types(&mut screen, "d0.5");
    press(&mut screen, &[KeyCode::Enter]);
    assert_eq!((screen.delay(), &screen.refusal), (Duration::from_millis(500), &None));
    types(&mut screen, "d1");
    press(&mut screen, &[KeyCode::Backspace, KeyCode::Char('9'), KeyCode::Char('x'), KeyCode::Enter]);
    assert_eq!(screen.delay(), Duration::from_millis(500));
    let refusal = "\"9x\" is no delay; write 0.2 to 3600 seconds, for instance 2";
    assert_eq!(screen.refusal.as_deref(), Some(refusal));
    types(&mut screen, "s7");
    assert_eq!(screen.refusal, None, "until the next key");
    press(&mut screen, &[KeyCode::Esc]);
    assert_eq!(screen.delay(), Duration::from_millis(500));
}

#[test]
fn see_the_help_goes_with_any_key() {
    let mut screen = screen(&[]);
    for key in [KeyCode::Char('?'), KeyCode::Char('h'), KeyCode::F(1)] {
        press(&mut screen, &[key]);
        assert_eq!(screen.mode, Mode::Help);
        assert_eq!(types(&mut screen, "2"), Act::Show);
        assert_eq!((&screen.mode, screen.options.view), (&Mode::Keys, View::Classes));
    }
    assert_eq!(types(&mut screen, "?q"), Act::Leave);
}

#[test]
fn see_a_picture_that_is_held_takes_no_sample() {
    let mut screen = screen(&[]);
    let at = |at| Sample { at, ..Sample::default() };
    screen.on_sample(at(1), Duration::from_secs(1));
    types(&mut screen, " ");
    screen.on_sample(at(2), Duration::from_secs(2));
    assert_eq!((screen.sample.as_ref().unwrap().at, screen.sampled), (1, Duration::from_secs(1)));
    types(&mut screen, " ");
    screen.on_sample(at(3), Duration::from_secs(3));
    assert_eq!((screen.sample.as_ref().unwrap().at, screen.sampled), (3, Duration::from_secs(3)));
}

#[test]
fn see_an_agent_is_lost_until_it_answers_also_while_the_picture_is_held() {
    let mut screen = screen(&[]);
    screen.on_lost("gone".into());
    assert_eq!(screen.lost.as_deref(), Some("gone"));
    types(&mut screen, " ");
    screen.on_sample(Sample::default(), Duration::ZERO);
    assert_eq!(screen.lost, None);
}
