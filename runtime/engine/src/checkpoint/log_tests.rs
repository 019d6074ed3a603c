use levada_connector_api::{ErrorKind, Offset, OffsetRange, Partition};

use super::*;

fn ranges(from: u64, to: u64) -> OffsetRanges {
    let mut ranges = OffsetRanges::default();
    let start = (from > 0).then(|| Offset::at(from));
    ranges.push(Partition::named("p", 0), OffsetRange::new(start, Offset::at(to)).unwrap()).unwrap();
    ranges
}

fn prepared(batch_id: u64, epoch: u64, state: Vec<StateEntry>) -> Prepared {
    Prepared {
        flushed: true,
        batch_id,
        epoch,
        timestamp: 0,
        rows: 1,
        ranges: ranges(batch_id, batch_id + 1),
        watermarks: Watermarks::default(),
        state,
    }
}

fn entry(bytes: usize, snapshot: bool) -> StateEntry {
    StateEntry {
        transform: "t".into(),
        snapshot,
        fingerprint: "f".into(),
        sections: vec![super::super::record::SectionEntry { partition: 0, rows: 1, bytes: bytes as u64 }],
        data: vec![7u8; bytes].into(),
    }
}

async fn begun(location: &str) -> (Checkpoint, Recovered) {
    let (mut checkpoint, recovered) = Checkpoint::open(location, "p").await.unwrap();
    checkpoint.begin(&recovered, 0).await.unwrap();
    (checkpoint, recovered)
}

#[tokio::test]
async fn what_was_committed_is_found_and_what_was_prepared_is_pending() {
    let folder = tempfile::tempdir().unwrap();
    let location = folder.path().to_str().unwrap();
    let (mut checkpoint, recovered) = begun(location).await;
    assert_eq!((recovered.last, recovered.epoch), (None, 0));
    checkpoint.prepare(prepared(0, 1, vec![entry(10, false)])).await.unwrap();
    checkpoint.commit(0, &ranges(0, 1)).await.unwrap();
    checkpoint.prepare(prepared(1, 1, vec![])).await.unwrap();
    drop(checkpoint);

    let (checkpoint, mut recovered) = begun(location).await;
    assert_eq!(checkpoint.epoch(), 2);
    assert_eq!(recovered.last, Some(0));
    assert_eq!(recovered.pending.as_ref().unwrap().batch_id, 1);
    assert_eq!(recovered.state, [entry(10, false)]);
    recovered.settle().unwrap();
    assert_eq!(recovered.offsets.get(&Partition::named("p", 0)).unwrap().number(), Some(2));
}

#[tokio::test]
async fn a_second_run_is_refused_while_the_first_lives() {
    let folder = tempfile::tempdir().unwrap();
    let location = folder.path().to_str().unwrap();
    let first = begun(location).await;
    let error = Checkpoint::open(location, "p").await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Fenced);
    assert!(error.to_string().contains("in use by another run"), "{error}");
    drop(first);
    Checkpoint::open(location, "p").await.unwrap();
}

#[tokio::test]
async fn segments_roll_with_a_snapshot_and_old_ones_go() {
    let folder = tempfile::tempdir().unwrap();
    let location = folder.path().to_str().unwrap();
    let (mut checkpoint, _) = begun(location).await;
    let mut rolls = 0;
    for batch in 0..20 {
        checkpoint.prepare(prepared(batch, 1, vec![entry(400_000, false)])).await.unwrap();
        checkpoint.commit(batch, &ranges(batch, batch + 1)).await.unwrap();
        if checkpoint.roll_due() {
            checkpoint.roll(vec![entry(1_000, true)]).await.unwrap();
            rolls += 1;
        }
    }
    assert!(rolls > 3, "{rolls} rolls");
    drop(checkpoint);
    let logs = std::fs::read_dir(folder.path())
        .unwrap()
        .filter(|e| e.as_ref().unwrap().path().extension().is_some_and(|x| x == "log"));
    assert_eq!(logs.count(), 2);
    let (_, recovered) = begun(location).await;
    assert_eq!(recovered.last, Some(19));
    assert!(recovered.state.first().unwrap().snapshot);
}

#[tokio::test]
async fn a_torn_end_is_cut_off_and_a_cut_segment_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let location = folder.path().to_str().unwrap();
    let (mut checkpoint, _) = begun(location).await;
    checkpoint.prepare(prepared(0, 1, vec![])).await.unwrap();
    drop(checkpoint);
    let log = folder.path().join("0000000001.log");
    let whole = std::fs::read(&log).unwrap();

    let mut torn = whole.clone();
    torn.extend_from_slice(&[200, 0, 0, 0, 1, 2, 3, 4, b'{']);
    std::fs::write(&log, &torn).unwrap();
    let (checkpoint, recovered) = begun(location).await;
    assert_eq!(recovered.pending.unwrap().batch_id, 0);
    drop(checkpoint);
    let (checkpoint, recovered) = begun(location).await;
    assert_eq!(recovered.epoch, 2);
    drop(checkpoint);

    std::fs::write(&log, &whole[..whole.len() - 1]).unwrap();
    let error = Checkpoint::open(location, "p").await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("0000000001.log"), "{error}");
}

#[tokio::test]
async fn a_checkpoint_belongs_to_one_pipeline() {
    let folder = tempfile::tempdir().unwrap();
    let location = folder.path().to_str().unwrap();
    drop(begun(location).await);
    let error = Checkpoint::open(location, "other").await.err().unwrap();
    assert!(error.to_string().contains("belongs to pipeline 'p'"), "{error}");
}

#[tokio::test]
async fn in_an_object_store_the_second_run_fences_the_first() {
    use super::super::remote::RemoteStore;
    let store = std::sync::Arc::new(object_store::memory::InMemory::new());
    let open = async || {
        let mut segments = RemoteStore::new(store.clone(), "base".into());
        let (recovered, _) = read_log(&mut segments).await.unwrap();
        let mut checkpoint = Checkpoint {
            store: Box::new(segments),
            id: "id".into(),
            pipeline: "p".into(),
            run_id: "r".into(),
            epoch: recovered.epoch + 1,
            segment: recovered.segment,
            offsets: Offsets::new(),
            last: None,
            layout: Layout::default(),
            watermarks: Watermarks::default(),
            pending: Watermarks::default(),
            snapshot_bytes: recovered.snapshot_bytes,
            bytes_since: 0,
            unsynced: false,
        };
        checkpoint.begin(&recovered, 0).await.unwrap();
        (checkpoint, recovered)
    };
    let (mut first, _) = open().await;
    first.prepare(prepared(0, 1, vec![entry(5, false)])).await.unwrap();
    let (mut second, recovered) = open().await;
    assert_eq!((recovered.epoch, recovered.pending.unwrap().state[0].clone()), (1, entry(5, false)));
    let error = first.commit(0, &ranges(0, 1)).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Fenced);
    second.commit(0, &ranges(0, 1)).await.unwrap();
    let error = first.roll(vec![]).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Fenced);
    second.roll(vec![]).await.unwrap();
    let (_, recovered) = open().await;
    assert_eq!((recovered.last, recovered.epoch), (Some(0), 2));
}

/// The mark beside the segments says that there was another one: what was committed in it must not be read twice.
#[tokio::test]
async fn a_segment_that_was_taken_away_is_missed() {
    let folder = tempfile::tempdir().unwrap();
    let location = folder.path().to_str().unwrap();
    let (mut checkpoint, _) = begun(location).await;
    checkpoint.prepare(prepared(0, 1, vec![])).await.unwrap();
    checkpoint.commit(0, &ranges(0, 1)).await.unwrap();
    checkpoint.roll(vec![]).await.unwrap();
    drop(checkpoint);
    std::fs::remove_file(folder.path().join("0000000002.log")).unwrap();
    let error = Checkpoint::open(location, "p").await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("0000000002.log"), "{error}");
}
