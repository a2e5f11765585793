//! Queue files of which a part cannot be read: what comes back, and what is counted as lost.

use super::segment::{self, FILE_HEADER_BYTES};
use super::{Batch, Queue};
use crate::config::QueueConfig;

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
        queue.acknowledge(&all).expect("stored");
        segment::UNREADABLE_FROM.set(u64::MAX);
        let lost = samples.into_iter().map(u64::from).sum::<u64>();
        assert_eq!((queue.state().lost, queue.state().samples_waiting), (lost, 0));
        assert!(folder.path().join(format!("{:020}.damaged", 1)).exists());
    }
}
