//! The books by themselves: days, bounds, and files. What shards count for them is tested with the whole program and in the
//! simulator.

use std::path::Path;

use tickwire_router::{SeenUser, UserId};

use super::*;
use crate::config::{Config, StateDir};

fn settings(dir: Option<&Path>) -> AccountingSettings {
    AccountingSettings {
        enabled: true,
        holders: 2,
        users: 3,
        dir: dir.map(|dir| StateDir(dir.to_owned())),
        ..Config::default().accounting
    }
}

fn books(dir: Option<&Path>) -> Arc<Accounting> {
    Accounting::open_books(&settings(dir), Clock::start()).expect("the directory can be used")
}

fn key(name: &str) -> AccountName {
    AccountName::Key(name.to_owned())
}

fn today() -> DayNumber {
    DayNumber::of(Clock::start().wall())
}

/// Books `delivered` messages of topics `trade.>` for an account and a user.
fn deliver(books: &Accounting, day: DayNumber, account: &OpenAccount, delivered: u64, user: u64) {
    let trade = books.families().of_topic("trade.A");
    let count = FamilyCount {
        delivered,
        repeated: 1,
        bytes: 100 * delivered,
    };
    let mut sums = vec![FamilyCount::default(); trade.index()];
    sums.push(count);
    books.book(
        day,
        TakenAccounts {
            sums: vec![(account.id(), sums)],
            users: vec![SeenUser::new(account.id(), UserId(user), &[trade])],
        },
    );
}

/// The page of a day, and after a day has begun that of the day before, as CSV without the header and the day.
fn csv(books: &Accounting, day: DayNumber) -> Vec<String> {
    let page = books.page(WantedDay::Date(day)).expect("there are books");
    let rows = page.to_csv();
    let rows = rows
        .lines()
        .skip(1)
        .map(|row| row.split_once(',').expect("a day").1);
    let mut rows: Vec<String> = rows.map(str::to_owned).collect();
    rows.push(format!("{} {}", page.delivered(), page.users_complete()));
    rows
}

#[test]
fn connections_and_deliveries_are_booked_for_their_account() {
    let (books, day) = (books(None), today());
    let desk = [books.open(key("desk")), books.open(key("desk"))];
    let anonymous = books.open(AccountName::Anonymous);
    deliver(&books, day, &desk[0], 5, 1);
    deliver(&books, day, &desk[1], 3, 1);
    deliver(&books, day, &anonymous, 2, 1);
    drop(desk);
    let again = books.open(key("desk"));
    deliver(&books, day, &again, 1, 2);
    assert_eq!(
        csv(&books, day),
        [
            "anonymous,,,trade,1,1,2,1,200",
            "key,desk,,trade,2,2,9,3,900",
            "11 true",
        ]
    );
}

#[test]
fn holders_and_users_beyond_the_bounds_are_told_of() {
    let (books, day) = (books(None), today());
    let open: Vec<OpenAccount> = ["a", "b", "c", "d"].map(|name| books.open(key(name))).into();
    for (user, account) in open.iter().enumerate() {
        deliver(&books, day, account, 1, user as u64);
    }
    assert_eq!(
        csv(&books, day),
        [
            "key,a,,trade,1,1,1,1,100",
            "key,b,,trade,1,1,1,1,100",
            "others,,,trade,1,2,2,2,200",
            "4 false",
        ]
    );
}

#[test]
fn a_day_that_begins_has_the_connections_that_are_open() {
    let (books, day) = (books(None), today());
    let (stays, goes) = (books.open(key("stays")), books.open(key("goes")));
    deliver(&books, day, &stays, 5, 1);
    deliver(&books, day, &goes, 7, 1);
    drop(goes);
    let next = day.after();
    deliver(&books, next, &stays, 2, 1);
    // A shard that comes later to the end of the day.
    deliver(&books, day, &stays, 1, 1);
    let before = [
        "key,goes,,trade,1,1,7,1,700",
        "key,stays,,trade,1,1,6,2,600",
        "13 true",
    ];
    assert_eq!(csv(&books, day), before);
    assert_eq!(csv(&books, next), ["key,stays,,trade,1,1,2,1,200", "2 true"]);
    // The name of who is gone makes room when the day before is over, too.
    assert_eq!(books.open(key("new")).id(), OTHERS);
    deliver(&books, next.after(), &stays, 1, 1);
    assert!(![OTHERS, stays.id()].contains(&books.open(key("new")).id()));
    assert!(books.page(WantedDay::Date(day)).is_none());
}

#[test]
fn a_restart_begins_no_day_anew() {
    let folder = tempfile::tempdir().expect("a folder");
    let (dir, day) = (folder.path().join("accounts"), today());
    let subject = || AccountName::Subject {
        subject: "o'neil, \"x\"".to_owned(),
        issuer: Some("i".to_owned()),
    };
    {
        let books = books(Some(&dir));
        let account = books.open(subject());
        deliver(&books, day, &account, 5, u64::MAX);
        let open = Accounting::open_books(&settings(Some(&dir)), Clock::start());
        assert!(matches!(open, Err(StateError::InUse { .. })));
        assert!(books.save().is_ok());
    }
    let books = books(Some(&dir));
    let account = books.open(subject());
    deliver(&books, day, &account, 2, u64::MAX);
    assert_eq!(
        csv(&books, day),
        ["subject,\"o'neil, \"\"x\"\"\",i,trade,1,1,7,2,700", "7 true"]
    );
    // What the start has counted itself is in the metrics.
    assert_eq!(books.books().totals[1].delivered, 2);
}

#[test]
fn a_file_that_cannot_be_gone_on_with_stops_the_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let name = format!("accounts-{}.json", today());
    let good = format!(
        r#"{{"version":1,"day":"{}","users_lost":0,"accounts":[]}}"#,
        today()
    );
    for (text, expected) in [
        (good.clone(), None),
        (good[..good.len() - 1].to_owned(), Some("EOF")),
        (good.replace(":1", ":2"), Some("it has version 2 and not 1")),
        (
            good.replace("\"day\":\"2", "\"day\":\"1"),
            Some("it has the books of 1"),
        ),
    ] {
        std::fs::write(folder.path().join(&name), &text).expect("a file");
        let opened = Accounting::open_books(&settings(Some(folder.path())), Clock::start());
        match (expected, opened) {
            (None, opened) => assert!(opened.is_ok(), "{opened:?}"),
            (Some(expected), Err(error @ StateError::Unreadable { .. })) => {
                assert!(error.to_string().contains(expected), "{error}");
            }
            (Some(_), opened) => panic!("{text}: {opened:?}"),
        }
    }
}

#[test]
fn files_are_removed_when_they_are_too_old() {
    let folder = tempfile::tempdir().expect("a folder");
    let old = ["accounts-2020-01-01.json", "accounts-2020-01-01.txt", "x.json"];
    for name in old {
        std::fs::write(folder.path().join(name), "").expect("a file");
    }
    let books = books(Some(folder.path()));
    let account = books.open(AccountName::Anonymous);
    deliver(&books, today(), &account, 1, 1);
    assert!(books.save().is_ok());
    let left = old.map(|name| folder.path().join(name).exists());
    assert_eq!(left, [false, true, true]);
}
