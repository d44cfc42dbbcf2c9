//! A disk that hangs is one whose desk somebody holds.

use std::fs;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use tempfile::TempDir;
use tokio::time::advance;

use super::*;
use crate::config::fixture::Ground;
use crate::event::{Event, Observer};
use crate::gateway::ledger::{MOST_UNWRITTEN, Unchanged, lock, state};
use crate::policy::revocation::{Entry, Target, order};
use crate::units::UnixSeconds;

/// The codes of all notices.
#[derive(Default)]
struct Record(Mutex<Vec<&'static str>>);

impl Observer for Record {
    fn observe(&self, event: &Event) {
        if let Event::Notice(notice) = event {
            self.0.lock().unwrap().push(notice.code);
        }
    }
}

struct Site {
    house: Arc<House>,
    folder: TempDir,
    record: Arc<Record>,
}

impl Site {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let lock = lock(folder.path(), Duration::ZERO).await.unwrap();
        let (ledger, _) = Ledger::open(folder.path(), lock, RevocationSet::default(), clock::unix_now()).unwrap();
        let (config, _) = Ground::new().load().map_err(|mistakes| format!("{mistakes:?}")).unwrap();
        let record = Arc::new(Record::default());
        let house = Arc::new(House::new(config, ledger, Arc::<Record>::clone(&record)).unwrap());
        Self { house, folder, record }
    }

    fn revokes(&self, subject: &str) -> u64 {
        self.house.revoke(entry(subject), clock::unix_now()).unwrap().change
    }

    async fn keeps(&self, change: u64) {
        assert_eq!(self.house.ledger.kept(change).await, Kept::Yes);
    }

    /// The subjects that are revoked, as they hold and as the file has them.
    fn subjects(&self) -> [usize; 2] {
        let file = state::look(&self.file(), clock::unix_now()).unwrap();
        [self.house.ledger.sets()[0].len(), file.len()]
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("revocations")
    }

    /// What the watch does once a second, and whatever comes of it.
    async fn is_tended(&self) {
        self.house.tend_ledger(clock::unix_now());
        while self.house.ledger.book().at_work.strong_count() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// From here on the disk hangs.
    fn hangs(&self) -> Hung {
        let (house, (released, wait), (began, begin)) = (Arc::clone(&self.house), mpsc::channel(), mpsc::channel());
        let thread = thread::spawn(move || {
            let _desk = house.ledger.disk.as_ref().unwrap().desk.lock().unwrap();
            began.send(()).unwrap();
            wait.recv().unwrap();
        });
        begin.recv().unwrap();
        Hung { thread, released }
    }

    fn told(&self, code: &str) -> usize {
        self.record.0.lock().unwrap().iter().filter(|told| **told == code).count()
    }
}

struct Hung {
    thread: JoinHandle<()>,
    released: mpsc::Sender<()>,
}

impl Hung {
    fn ends(self) {
        self.released.send(()).unwrap();
        self.thread.join().unwrap();
    }
}

fn entry(subject: &str) -> Entry {
    let target = Target::Subject { subject: subject.into(), issuer: None };
    Entry { target, since: Some(UnixSeconds(1)), until: order::LAST_TIME }
}

#[tokio::test(start_paused = true)]
async fn op03_a_disk_that_hangs_costs_no_entry_its_effect() {
    let site = Site::new().await;
    site.keeps(site.revokes("alice")).await;
    let hung = site.hangs();
    let change = site.revokes("bob");
    assert_eq!(site.subjects(), [2, 1], "it holds, and is not written");
    advance(PATIENCE).await;
    for _ in 0..2 {
        site.house.tend_ledger(clock::unix_now());
        let Kept::Lost(why) = site.house.ledger.kept(change).await else { panic!("the disk cannot have it") };
        assert!(why.ends_with("revocations: the disk has not answered for 5 seconds"), "{why}");
        assert_eq!((site.house.ledger.losses(), site.told("state_lost")), (1, 1), "it is told once");
    }
    for number in 0..=MOST_UNWRITTEN {
        site.revokes(&number.to_string());
    }
    let (holding, waiting) = (site.subjects()[0], site.house.ledger.book().unwritten.len());
    assert_eq!((holding, waiting), (MOST_UNWRITTEN + 3, MOST_UNWRITTEN), "all of them hold, and few wait");
    let change = site.house.lift(&entry("alice").target).unwrap();
    hung.ends();
    site.keeps(change).await;
    assert_eq!(site.subjects(), [MOST_UNWRITTEN + 2; 2]);
    assert_eq!(site.told("state_written"), 1);
    site.keeps(site.revokes("alice")).await;
    assert_eq!((site.subjects(), site.told("state_written")), ([MOST_UNWRITTEN + 3; 2], 1), "the twin");
}

#[tokio::test(flavor = "multi_thread")]
async fn op03_lines_stand_in_the_order_in_which_their_entries_came_to_hold() {
    /// Fewer lines than may wait: then each has its own.
    const EACH: usize = 50;
    let site = Arc::new(Site::new().await);
    let callers = [0; 8].map(|_| {
        let site = Arc::clone(&site);
        let calls = move || {
            let both = |_| [site.house.lift(&entry("alice").target).is_ok(), site.revokes("alice") > 0];
            (0..EACH).flat_map(both).filter(|changed| *changed).count()
        };
        spawn_blocking(calls)
    });
    let mut changes = 0;
    for caller in callers {
        changes += caller.await.unwrap();
    }
    assert!(changes > 8 * EACH, "{changes}: some were lifted");
    let change = site.house.ledger.book().changes;
    assert_eq!(change, u64::try_from(changes).unwrap());
    site.keeps(change).await;
    assert_eq!(site.subjects(), [1; 2]);
    let change = site.house.lift(&entry("alice").target).unwrap();
    site.keeps(change).await;
    assert_eq!(site.subjects(), [0; 2], "the twin");
    let text = fs::read_to_string(site.file()).unwrap();
    assert_eq!(text.lines().count(), 2 + changes, "a line for each");
}

#[tokio::test(start_paused = true)]
async fn op02_a_state_is_lent_once_the_disk_has_all_of_it() {
    let site = Site::new().await;
    let hung = site.hangs();
    let change = site.revokes("alice");
    let (lent, ()) = tokio::join!(site.house.lend_ledger(), advance(PATIENCE));
    let Err(said) = lent else { panic!("the next process would not know of alice") };
    assert!(said.to_string().contains("the disk does not take"), "{said}");
    site.revokes("bob");
    hung.ends();
    site.keeps(change).await;
    let beside = site.folder.path().join("beside");
    fs::write(&beside, "remember the milk\n").unwrap();
    fs::rename(&beside, site.file()).unwrap();
    let Err(said) = site.house.lend_ledger().await else { panic!("the next process would find something else") };
    assert!(said.to_string().contains("put it away"), "{said}");
    fs::rename(site.file(), beside).unwrap();
    let lent = site.house.lend_ledger().await.unwrap().unwrap();
    assert_eq!(site.subjects(), [2; 2]);
    let refused = site.house.revoke(entry("carol"), clock::unix_now()).unwrap_err();
    assert!(matches!(refused, Unchanged::HandingOver), "{refused:?}");
    assert!(site.house.lend_ledger().await.is_err(), "to one process at a time");
    drop(lent);
    site.keeps(site.revokes("carol")).await;
    assert_eq!(site.subjects(), [3; 2], "it is taken back");
}

#[tokio::test]
async fn op03_a_file_that_is_gone_is_told_once_and_written_anew() {
    let site = Site::new().await;
    site.keeps(site.revokes("alice")).await;
    site.is_tended().await;
    assert_eq!((site.told("state_moved"), site.house.ledger.losses()), (0, 0), "the twin");
    fs::rename(site.file(), site.folder.path().join("away")).unwrap();
    site.is_tended().await;
    assert_eq!(site.subjects(), [1; 2]);
    site.is_tended().await;
    fs::remove_file(site.file()).unwrap();
    site.keeps(site.revokes("bob")).await;
    assert_eq!(site.subjects(), [2; 2], "it is looked after before something is added");
    assert_eq!((site.told("state_moved"), site.house.ledger.losses()), (2, 2));
    assert_eq!((site.told("state_lost"), site.told("state_written")), (0, 0), "nothing was lost");
}

#[tokio::test]
async fn op03_nothing_is_written_where_another_gateway_may_hold_the_state() {
    let site = Site::new().await;
    site.keeps(site.revokes("alice")).await;
    fs::remove_file(site.folder.path().join("lock")).unwrap();
    let other = lock(site.folder.path(), Duration::ZERO).await.unwrap();
    site.keeps(site.revokes("bob")).await;
    fs::remove_file(site.file()).unwrap();
    for _ in 0..2 {
        site.is_tended().await;
        assert!(!site.file().exists());
    }
    let change = site.revokes("carol");
    let Kept::Lost(why) = site.house.ledger.kept(change).await else { panic!("it is another's") };
    assert!(why.contains("another gateway holds this state"), "{why}");
    assert_eq!((site.told("state_moved"), site.told("state_lost"), site.told("state_written")), (1, 2, 0));
    drop(other);
    site.is_tended().await;
    assert_eq!((site.subjects(), site.told("state_written")), ([3; 2], 1));
    lock(site.folder.path(), Duration::ZERO).await.expect_err("the lock at its place is held");
}

#[tokio::test]
async fn op03_a_folder_that_is_moved_away_and_back_is_the_same() {
    let site = Site::new().await;
    site.keeps(site.revokes("alice")).await;
    let away = site.folder.path().with_extension("away");
    fs::rename(site.folder.path(), &away).unwrap();
    let change = site.revokes("bob");
    let Kept::Lost(_) = site.house.ledger.kept(change).await else { panic!("there is no folder") };
    assert!(!site.folder.path().exists(), "none is made");
    fs::rename(&away, site.folder.path()).unwrap();
    site.is_tended().await;
    assert_eq!((site.subjects(), site.house.ledger.losses()), ([2; 2], 2));
    lock(site.folder.path(), Duration::ZERO).await.expect_err("it is held all the time");
}
