use super::*;
use proptest::prelude::*;

fn partition(i: u8) -> Partition {
    Partition::new([("topic", "t".into()), ("partition", i.into())])
}

#[test]
fn a_partition_is_named_without_regard_to_the_order_of_its_entries() {
    let a = Partition::new([("topic", "t".into()), ("partition", 1.into())]);
    let b = Partition::new([("partition", 1.into()), ("topic", "t".into())]);
    assert_eq!(a, b);
    assert_eq!(a.to_string(), r#"{"partition":1,"topic":"t"}"#);
    assert_eq!(a.text("topic").as_deref(), Some("t"));
}

#[test]
fn gaps_overlaps_and_steps_back_are_refused() {
    let mut stands = Offsets::new();
    stands.set(partition(0), Offset::at(10));
    let ranges = |start: Option<u64>, end: u64| {
        let mut ranges = OffsetRanges::default();
        ranges.push(partition(0), OffsetRange::new(start.map(Offset::at), Offset::at(end)).unwrap()).unwrap();
        ranges
    };
    for wrong in [ranges(Some(11), 12), ranges(Some(9), 12), ranges(None, 12)] {
        assert!(stands.apply(&wrong).is_err(), "{wrong:?}");
    }
    assert!(OffsetRange::new(Some(Offset::at(2)), Offset::at(1)).is_err());
    stands.apply(&ranges(Some(10), 12)).unwrap();
    assert_eq!(stands.get(&partition(0)).unwrap().number(), Some(12));
}

#[test]
fn long_sequence_numbers_compare_as_numbers() {
    let digits = |s: &str| Position::Digits(s.to_owned());
    let small = digits("49590338271490256608559692538361571095921575989136588898");
    let large = digits("149590338271490256608559692538361571095921575989136588898");
    assert_eq!(small.compare(&large), Some(Ordering::Less));
    assert_eq!(digits("007").compare(&digits("7")), Some(Ordering::Equal));
    assert_eq!(digits("x").compare(&digits("7")), None);
    assert_eq!(Position::Number(1).compare(&small), None);
}

#[test]
fn json_is_connects_shape() {
    let mut offsets = Offsets::new();
    offsets.set(Partition::named("file", "a.txt"), Offset::at(7).note("size", 9));
    let json = serde_json::to_string(&offsets).unwrap();
    assert_eq!(json, r#"[{"partition":{"file":"a.txt"},"offset":{"position":7,"size":9}}]"#);
    assert_eq!(serde_json::from_str::<Offsets>(&json).unwrap(), offsets);
}

/// Steps of reading: for each, a partition and how far it goes.
fn steps() -> impl Strategy<Value = Vec<(u8, u64)>> {
    prop::collection::vec((0u8..4, 0u64..100), 0..40)
}

fn read(steps: &[(u8, u64)], at: &mut Offsets) -> OffsetRanges {
    let mut all = OffsetRanges::default();
    for (p, step) in steps {
        let start = at.get(&partition(*p)).cloned();
        let end = Offset::at(start.as_ref().and_then(Offset::number).unwrap_or(0) + step);
        let mut one = OffsetRanges::default();
        one.push(partition(*p), OffsetRange::new(start, end).unwrap()).unwrap();
        at.apply(&one).unwrap();
        all.append(one).unwrap();
    }
    all
}

proptest! {
    #[test]
    fn applying_a_joined_range_is_applying_its_parts(a in steps(), b in steps()) {
        let mut parts = Offsets::new();
        let mut joined = read(&a, &mut parts);
        joined.append(read(&b, &mut parts)).unwrap();
        let mut whole = Offsets::new();
        whole.apply(&joined).unwrap();
        prop_assert_eq!(whole, parts);
    }

    #[test]
    fn the_difference_leads_from_one_to_the_other(a in steps(), b in steps()) {
        let mut at = Offsets::new();
        read(&a, &mut at);
        let before = at.clone();
        let ranges = read(&b, &mut at);
        let difference = before.ranges_to(&at).unwrap();
        let mut moved = before.clone();
        moved.apply(&difference).unwrap();
        for (partition, offset) in at.iter() {
            prop_assert_eq!(moved.get(partition).map(|o| &o.position), Some(&offset.position));
        }
        for (partition, range) in difference.iter() {
            prop_assert_eq!(Some(range), ranges.get(partition));
        }
    }

    #[test]
    fn a_range_applies_once(a in steps()) {
        let mut at = Offsets::new();
        let ranges = read(&a, &mut at);
        let again = at.clone().apply(&ranges);
        // Only empty ranges of partitions that were known can be applied twice.
        prop_assert_eq!(again.is_ok(), ranges.is_empty());
    }

    #[test]
    fn json_round_trips(a in steps(), b in steps()) {
        let mut at = Offsets::new();
        read(&a, &mut at);
        let ranges = read(&b, &mut at);
        prop_assert_eq!(&serde_json::from_str::<Offsets>(&serde_json::to_string(&at).unwrap()).unwrap(), &at);
        let text = serde_json::to_string(&ranges).unwrap();
        prop_assert_eq!(serde_json::from_str::<OffsetRanges>(&text).unwrap(), ranges);
    }
}
