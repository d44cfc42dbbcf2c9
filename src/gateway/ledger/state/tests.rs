use super::*;
use crate::policy::PolicyName;

const NOW: UnixSeconds = UnixSeconds(1_800_000_000);

fn of_subject(subject: &str, until: u64) -> Entry {
    let target = Target::Subject { subject: subject.into(), issuer: Some("login".into()) };
    Entry { target, since: Some(NOW), until: UnixSeconds(until) }
}

fn of_policy(name: &str) -> Entry {
    Entry { target: Target::Policy(PolicyName::new(name)), since: None, until: UnixSeconds(NOW.0 + 60) }
}

/// A folder whose file holds two subjects and a policy that was lifted.
fn written() -> (tempfile::TempDir, RevocationSet) {
    let folder = tempfile::tempdir().unwrap();
    let mut reading = StateFile::open(folder.path(), NOW).unwrap();
    let gone = of_policy("chat");
    for entry in [of_subject("alice", NOW.0 + 60), gone.clone(), of_subject("bob \" smith", NOW.0 + 5)] {
        reading.set.insert(entry.clone()).unwrap();
        reading.file.append(&[line(&Change::Hold(&entry))]).unwrap();
    }
    reading.set.lift(&gone.target);
    reading.file.append(&[line(&Change::Lift(&gone.target))]).unwrap();
    (folder, reading.set)
}

#[test]
fn what_was_written_holds_after_a_restart() {
    let (folder, set) = written();
    let again = StateFile::open(folder.path(), NOW).unwrap();
    assert_eq!((again.set.entries(), again.said), (set.entries(), None));
    assert_eq!(set.len(), 2);
    let text = fs::read_to_string(folder.path().join("revocations")).unwrap();
    assert_eq!(text.lines().count(), 3, "what was lifted is not written anew: {text}");
    let later = StateFile::open(folder.path(), UnixSeconds(NOW.0 + 5)).unwrap();
    assert_eq!(later.set.entries(), [of_subject("alice", NOW.0 + 60)], "what has ended is forgotten");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
}

#[test]
fn a_torn_last_line_is_dropped_wherever_it_tears() {
    let (folder, _) = written();
    let path = folder.path().join("revocations");
    let whole = fs::read(&path).unwrap();
    let last = whole[..whole.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
    for end in last + 1..whole.len() - 1 {
        fs::write(&path, &whole[..end]).unwrap();
        let reading = StateFile::open(folder.path(), NOW).unwrap();
        assert!(reading.said.unwrap().contains("revocations: line 5 was torn"), "{end}");
        assert_eq!(reading.set.len(), 3, "the lift is lost, and no more than that");
    }
    for (end, entries) in [(last, 3), (whole.len() - 1, 2), (whole.len(), 2)] {
        fs::write(&path, &whole[..end]).unwrap();
        let reading = StateFile::open(folder.path(), NOW).unwrap();
        assert_eq!((reading.set.len(), reading.said), (entries, None), "the twin: {end}");
    }
}

#[test]
fn damage_and_foreign_files_are_told_with_their_line() {
    let (folder, _) = written();
    let path = folder.path().join("revocations");
    let good = fs::read_to_string(&path).unwrap();
    let unsound = |body: &str| format!("{HEADER}\n{} {body}\n", checksum_of(body.as_bytes()));
    let cases = [
        ("another file", String::from("[route]\n"), 1),
        ("an empty file", String::new(), 1),
        ("a later version", good.replacen("revocations 1", "revocations 2", 1), 1),
        ("a letter", good.replacen("alice", "Alice", 1), 2),
        ("a line of another", good.replacen('\n', "\nremember the milk\n", 1), 2),
        ("the last line", format!("{}\n", &good[..good.len() - 2]), 5),
        ("an entry without an end", unsound("+ {\"subject\":\"alice\"}"), 2),
        ("a lift with an end", unsound("- {\"subject\":\"alice\",\"until\":1}"), 2),
        ("a kind of a later version", unsound("+ {\"colour\":\"red\",\"until\":1}"), 2),
    ];
    let mut ran = 0;
    for (name, text, line) in cases {
        fs::write(&path, &text).unwrap();
        let said = StateFile::open(folder.path(), NOW).unwrap_err();
        assert!(said.contains(&format!("revocations:{line}: ")), "{name}: {said}");
        assert_eq!(fs::read_to_string(&path).unwrap(), text, "{name}: it is left as it is");
        ran += 1;
    }
    assert_eq!(ran, 9);
    fs::write(&path, &good).unwrap();
    assert_eq!(StateFile::open(folder.path(), NOW).unwrap().set.len(), 2, "the twin");
}

#[test]
fn a_full_disk_loses_no_entry_that_stands_and_is_made_up_for() {
    let (folder, mut set) = written();
    let mut file = StateFile::open(folder.path(), NOW).unwrap().file;
    file.file = Some(OpenOptions::new().write(true).open("/dev/full").unwrap());
    let entry = of_subject("carol", NOW.0 + 60);
    set.insert(entry.clone()).unwrap();
    assert!(file.append(&[line(&Change::Hold(&entry))]).is_err());
    assert!(file.is_behind(0));
    assert_eq!(StateFile::open(folder.path(), NOW).unwrap().set.len(), 2);
    file.write_anew(&set, NOW).unwrap();
    assert!(!file.is_behind(0));
    assert_eq!(StateFile::open(folder.path(), NOW).unwrap().set.entries(), set.entries());
}

#[test]
fn a_file_of_another_process_is_looked_at_and_left_as_it_is() {
    let (folder, set) = written();
    let path = folder.path().join("revocations");
    let torn = fs::read_to_string(&path).unwrap() + "0123456789abcdef + {\"sub";
    fs::write(&path, &torn).unwrap();
    assert_eq!(look(&path, NOW).unwrap().entries(), set.entries(), "a line that is written just now");
    let Reading { mut file, set, .. } = StateFile::borrow(folder.path(), NOW).unwrap();
    assert!(file.is_behind(0));
    assert_eq!(fs::read_to_string(&path).unwrap(), torn);
    assert!(file.append(&[line(&Change::Lift(&of_policy("chat").target))]).is_err(), "it is not this process's yet");
    file.write_anew(&set, NOW).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 3, "and then it is written anew");
    fs::write(&path, torn.replacen("alice", "Alice", 1)).unwrap();
    assert!(look(&path, NOW).unwrap_err().contains("revocations:2: "));
    fs::remove_file(&path).unwrap();
    assert!(look(&path, NOW).unwrap_err().contains("it is gone"));
}

#[test]
fn what_has_ended_takes_nobodys_place() {
    let folder = tempfile::tempdir().unwrap();
    let entry = |number: usize| of_subject(&format!("user-{number}"), NOW.0 + if number == 0 { 60 } else { 5 });
    let lines: String = (0..=MOST_ENTRIES).map(|number| line(&Change::Hold(&entry(number)))).collect();
    fs::write(folder.path().join("revocations"), format!("{HEADER}\n{lines}")).unwrap();
    let said = StateFile::open(folder.path(), NOW).unwrap_err();
    assert!(said.contains("too many entries"), "{said}");
    let later = StateFile::open(folder.path(), UnixSeconds(NOW.0 + 5)).unwrap();
    assert_eq!(later.set.entries(), [entry(0)], "the twin");
}

#[test]
fn the_file_does_not_grow_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let Reading { mut file, mut set, .. } = StateFile::open(folder.path(), NOW).unwrap();
    file.lines = MANY_LINES - 1;
    for (name, is_behind) in [("alice", false), ("bob", true)] {
        let entry = of_subject(name, NOW.0 + 60);
        set.insert(entry.clone()).unwrap();
        assert_eq!(file.is_behind(1), is_behind, "{name}");
        if !is_behind {
            file.append(&[line(&Change::Hold(&entry))]).unwrap();
        }
    }
    file.write_anew(&set, NOW).unwrap();
    assert_eq!((file.lines, file.is_behind(1)), (2, false));
    assert_eq!(StateFile::open(folder.path(), NOW).unwrap().set.entries(), set.entries());
}

/// Puts another file in the place of this one.
fn put(path: &Path, text: &str) {
    fs::write(path.with_extension("put"), text).unwrap();
    fs::rename(path.with_extension("put"), path).unwrap();
}

#[test]
fn op03_a_file_that_is_moved_replaced_or_cut_is_seen() {
    type Harm<'h> = (&'h str, &'h dyn Fn(&Path, &str), bool);
    let cut = |path: &Path, length: usize| {
        OpenOptions::new().write(true).open(path).unwrap().set_len(length.try_into().unwrap()).unwrap();
    };
    let harms: [Harm<'_>; 7] = [
        ("nothing", &|_, _| {}, false),
        ("moved away", &|path, _| fs::rename(path, path.with_extension("away")).unwrap(), true),
        ("taken out", &|path, _| fs::remove_file(path).unwrap(), true),
        ("replaced by a copy", &put, true),
        ("replaced by a part", &|path, text| put(path, &text[..text.len() - 9]), true),
        ("cut to nothing", &|path, _| cut(path, 0), true),
        ("cut", &|path, text| cut(path, text.len() - 9), true),
    ];
    let mut ran = 0;
    for (name, harm, is_seen) in harms {
        let (folder, set) = written();
        let path = folder.path().join("revocations");
        let mut file = StateFile::open(folder.path(), NOW).unwrap().file;
        assert!(!file.is_moved(), "{name}");
        harm(&path, &fs::read_to_string(&path).unwrap());
        assert_eq!((file.is_moved(), file.is_moved()), (is_seen, false), "{name}: it is told once");
        assert_eq!(file.is_behind(0), is_seen, "{name}");
        file.write_anew(&set, NOW).unwrap();
        assert_eq!(look(&path, NOW).unwrap().entries(), set.entries(), "{name}");
        file.append(&[line(&Change::Hold(&of_policy("chat")))]).unwrap();
        assert!(!file.is_moved(), "{name}: it is as it was left");
        assert_eq!(look(&path, NOW).unwrap().len(), 3, "{name}");
        ran += 1;
    }
    assert_eq!(ran, 7);
}

#[test]
fn op03_what_says_something_else_is_not_written_over() {
    let (folder, set) = written();
    let path = folder.path().join("revocations");
    let good = fs::read_to_string(&path).unwrap();
    let with = |entry: &Entry| format!("{good}{}", line(&Change::Hold(entry)));
    let foreign = [
        ("no state", String::from("remember the milk\n"), "line 1"),
        ("a later version", good.replacen("revocations 1", "revocations 2", 1), "line 1"),
        ("one that is damaged", good.replacen("alice", "Alice", 1), "line 2"),
        ("one more entry", with(&of_policy("other")), "do not hold here"),
        ("one that lasts longer", with(&of_subject("alice", NOW.0 + 61)), "do not hold here"),
        (
            "one that reaches further",
            with(&Entry { since: None, ..of_subject("alice", NOW.0 + 60) }),
            "do not hold here",
        ),
    ];
    let mut ran = 0;
    for (name, text, says) in &foreign {
        let mut file = StateFile::borrow(folder.path(), NOW).unwrap().file;
        put(&path, text);
        let said = file.write_anew(&set, NOW).unwrap_err().to_string();
        assert!(said.contains(says) && said.contains("put it away"), "{name}: {said}");
        assert_eq!(fs::read_to_string(&path).unwrap(), *text, "{name}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "{name}: nothing is left beside it");
        put(&path, &with(&of_subject("alice", NOW.0 + 59)));
        file.write_anew(&set, NOW).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 3, "the twin says nothing else");
        ran += 1;
    }
    assert_eq!(ran, 6);
}
