//! Queue files of which a part cannot be read: what comes back, and what is counted as lost.

use std::fs;
use std::path::Path;

use super::segment::{self, FILE_HEADER_BYTES};
use super::{Batch, Queue};
use crate::config::QueueConfig;

/// How many files `folder` has that are of the queue, and that were put aside.
fn files(folder: &Path) -> (usize, usize) {
    let with = |suffix: &str| {
        let listed = fs::read_dir(folder).expect("listed").flatten();
        listed.filter(|entry| entry.path().extension().is_some_and(|extension| extension == suffix)).count()
    };
    (with("queue"), with("damaged"))
}

#[test]
fn what_cannot_be_read_for_a_while_comes_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = QueueConfig { folder: folder.path().to_owned(), ..crate::Config::default().queue };
    let numbers = |queue: &mut Queue| -> Vec<u8> {
        queue.peek(100, 10_000, 0).iter().flat_map(Batch::records).map(|record| record.payload[0]).collect()
    };
    let mut queue = Queue::open(&options).expect("opens");
    for number in 1..=5 {
        queue.push(vec![number; 60], 1, 0).expect("written");
    }
    drop(queue);
    segment::UNREADABLE_FROM.set(FILE_HEADER_BYTES + 2 * 88);
    let mut queue = Queue::open(&options).expect("opens");
    queue.push(vec![6; 60], 1, 0).expect("written");
    assert_eq!(numbers(&mut queue), [1, 2, 6]);
    drop(queue);
    segment::UNREADABLE_FROM.set(u64::MAX);
    let mut queue = Queue::open(&options).expect("opens");
    assert_eq!(numbers(&mut queue), [1, 2, 3, 4, 5, 6]);
    assert_eq!(queue.state().lost, 0);
}

#[test]
fn what_could_not_be_read_counts_when_what_came_later_is_acknowledged() {
    // Whether the device can be read again by then.
    for (again, samples) in [(false, [2, 2, 2]), (true, [2, 7, 1])] {
        let folder = tempfile::tempdir().expect("a folder");
        let options = QueueConfig { folder: folder.path().to_owned(), ..crate::Config::default().queue };
        let mut queue = Queue::open(&options).expect("opens");
        for samples in [2, 2].into_iter().chain(samples) {
            queue.push(vec![0; 60], samples, 0).expect("written");
        }
        let mut first = queue.peek(100, 10_000, 0).expect("five");
        first.keep_first(1);
        queue.acknowledge(&first).expect("stored");
        drop(queue);
        segment::UNREADABLE_FROM.set(FILE_HEADER_BYTES + 2 * 88);
        let mut queue = Queue::open(&options).expect("opens");
        queue.push(vec![6; 60], 1, 0).expect("written");
        assert_eq!(queue.state().lost, 0, "it may come back");
        if again {
            segment::UNREADABLE_FROM.set(u64::MAX);
        }
        let all = queue.peek(100, 10_000, 0).expect("the second and the last");
        assert_eq!(all.records().len(), 2);
        let mut beginning = queue.peek(100, 10_000, 0).expect("the same");
        beginning.keep_first(1);
        queue.acknowledge(&beginning).expect("stored");
        assert_eq!((queue.state().lost, files(folder.path())), (0, (2, 0)), "a later start may read the rest");
        queue.acknowledge(&all).expect("stored");
        segment::UNREADABLE_FROM.set(u64::MAX);
        let lost = samples.into_iter().map(u64::from).sum::<u64>();
        assert_eq!((queue.state().lost, queue.state().samples_waiting), (lost, 0));
        assert_eq!(files(folder.path()), (1, 1));
        assert!(folder.path().join(format!("{:020}.damaged", 1)).exists());
    }
}

#[test]
fn what_could_not_be_read_comes_back_though_what_was_before_it_is_acknowledged() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = QueueConfig { folder: folder.path().to_owned(), ..crate::Config::default().queue };
    let mut queue = Queue::open(&options).expect("opens");
    for number in 1..=5 {
        queue.push(vec![number; 60], 1, 0).expect("written");
    }
    let mut three = queue.peek(100, 10_000, 0).expect("five");
    three.keep_first(3);
    queue.acknowledge(&three).expect("stored");
    drop(queue);
    segment::UNREADABLE_FROM.set(FILE_HEADER_BYTES + 2 * 88);
    Queue::open(&options).expect("opens").push(vec![6; 60], 1, 0).expect("written");
    Queue::open(&options).expect("opens, and takes note of both files");
    segment::UNREADABLE_FROM.set(u64::MAX);
    let mut queue = Queue::open(&options).expect("opens");
    let waiting = queue.peek(100, 10_000, 0).expect("three");
    assert_eq!(waiting.records().map(|record| record.payload[0]).collect::<Vec<_>>(), [4, 5, 6]);
    queue.acknowledge(&waiting).expect("stored");
    assert_eq!((queue.state().lost, files(folder.path())), (0, (1, 0)));
}

#[test]
fn what_is_dropped_for_a_cap_leaves_no_file() {
    for by_age in [false, true] {
        let folder = tempfile::tempdir().expect("a folder");
        let mut options = QueueConfig { folder: folder.path().to_owned(), ..crate::Config::default().queue };
        let mut queue = Queue::open(&options).expect("opens");
        for samples in [1, 2, 4, 8] {
            queue.push(vec![0; 60], samples, 0).expect("written");
        }
        drop(queue);
        segment::UNREADABLE_FROM.set(FILE_HEADER_BYTES + 2 * 88);
        (options.bytes_max, options.age_max_ms) = if by_age { (10_000, 70_000) } else { (250, i64::MAX) };
        let mut queue = Queue::open(&options).expect("opens");
        segment::UNREADABLE_FROM.set(u64::MAX);
        let now_ms = if by_age { 100_000 } else { 0 };
        queue.push(vec![0; 60], 16, now_ms).expect("written");
        if by_age {
            // All that could be read of it is acknowledged; what could not is too old all the same.
            let mut beginning = queue.peek(100, 150, now_ms).expect("two");
            beginning.keep_first(2);
            queue.acknowledge(&beginning).expect("stored");
        }
        queue.push(vec![0; 60], 32, now_ms + 65_000).expect("written");
        let state = queue.state();
        let dropped = if by_age { (0, 12) } else { (15, 0) };
        assert_eq!(
            (state.dropped_bytes_cap, state.dropped_age_cap, state.lost),
            (dropped.0, dropped.1, 0),
            "{state:?}"
        );
        assert_eq!((state.samples_waiting, files(folder.path())), (48, (1, 0)));
    }
}
