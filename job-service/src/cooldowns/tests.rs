use super::*;

const TIMES: CooldownTimes = CooldownTimes {
    first: Duration::from_secs(60),
    most: Duration::from_secs(200),
};

fn at(seconds: u64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn wait_of(cooldown: &Cooldown, now: u64) -> i64 {
    (cooldown.until - at(now)).num_seconds()
}

fn against<'a>(
    cooldowns: &'a Cooldowns,
    title: &str,
    pixels: i64,
    now: u64,
) -> Option<&'a Cooldown> {
    cooldowns.against([title].into_iter(), Some(pixels), at(now))
}

#[test]
fn only_the_model_that_failed_is_kept_away_with_its_hash_or_without() {
    let mut cooldowns = Cooldowns::default();
    cooldowns.failed(Subject::model("a.safetensors"), "bad file", at(0), TIMES);
    assert!(against(&cooldowns, "a.safetensors [0123456789]", 1, 0).is_some());
    assert!(against(&cooldowns, "b.safetensors", 1, 0).is_none());
    assert!(
        against(&cooldowns, "a.safetensors", 1, 60).is_none(),
        "it is over"
    );
}

#[test]
fn a_size_that_failed_keeps_it_and_larger_ones_away() {
    let mut cooldowns = Cooldowns::default();
    cooldowns.failed(Subject::Pixels(1_000), "out of memory", at(0), TIMES);
    assert!(against(&cooldowns, "a", 999, 0).is_none());
    assert!(against(&cooldowns, "a", 1_000, 0).is_some());
    let unknown = cooldowns.against(["a"].into_iter(), None, at(0));
    assert!(unknown.is_none(), "a size that is not known");
    let (smaller, gone) = cooldowns.failed(Subject::Pixels(500), "again", at(10), TIMES);
    assert_eq!((smaller.failures, gone), (2, vec![Subject::Pixels(1_000)]));
    assert!(against(&cooldowns, "a", 600, 10).is_some());
}

#[test]
fn its_time_doubles_while_the_failures_are_remembered() {
    let mut cooldowns = Cooldowns::default();
    let mut now = 0;
    for wanted in [60, 120, 200, 200] {
        let (cooldown, _) = cooldowns.failed(Subject::model("a"), "bad", at(now), TIMES);
        assert_eq!(wait_of(&cooldown, now), wanted);
        now += u64::try_from(wanted).unwrap() + 30;
    }
    now += REMEMBERED.as_secs();
    let (cooldown, _) = cooldowns.failed(Subject::model("a"), "bad", at(now), TIMES);
    assert_eq!((wait_of(&cooldown, now), cooldown.failures), (60, 1));
}

#[test]
fn a_success_ends_what_it_disproves_and_nothing_else() {
    let mut cooldowns = Cooldowns::default();
    for subject in [
        Subject::model("a"),
        Subject::model("b"),
        Subject::Pixels(1_000),
        Subject::Pixels(400),
    ] {
        cooldowns.failed(subject, "bad", at(0), TIMES);
    }
    assert_eq!(cooldowns.succeeded(&["c"], Some(399)), []);
    let over = cooldowns.succeeded(&["a [0123456789]"], Some(400));
    assert_eq!(over, [Subject::model("a"), Subject::Pixels(400)]);
    assert!(against(&cooldowns, "b", 1, 0).is_some());
}

#[test]
fn those_that_end_first_make_room_and_old_ones_are_forgotten() {
    let mut cooldowns = Cooldowns::default();
    for number in 0..COOLDOWNS_MAX + 1 {
        let now = at(number as u64);
        let (_, gone) = cooldowns.failed(Subject::model(&number.to_string()), "bad", now, TIMES);
        let wanted = (number == COOLDOWNS_MAX).then(|| Subject::model("0"));
        assert_eq!(gone, Vec::from_iter(wanted));
    }
    assert_eq!(cooldowns.under_way(at(60)).count(), COOLDOWNS_MAX);
    assert_eq!(cooldowns.prune(at(100 + 60)), []);
    let gone = cooldowns.prune(at(100 + 60) + REMEMBERED);
    assert_eq!((gone.len(), cooldowns.is_empty()), (COOLDOWNS_MAX, true));
}

#[test]
fn a_subject_reads_back_as_it_was_written() {
    for subject in [Subject::model("a/b.safetensors"), Subject::Pixels(42)] {
        let read = Subject::parse(subject.kind(), &subject.text());
        assert_eq!(read, Some(subject));
    }
    assert_eq!(Subject::parse("pixels", "many"), None);
    assert_eq!(Subject::parse("colour", "1"), None);
}
