use super::*;

const TIMES: OpenTimes = OpenTimes {
    first: Duration::from_secs(10),
    most: Duration::from_secs(35),
};

fn at(seconds: u64) -> Moment {
    let monotonic = Duration::from_secs(seconds);
    Moment {
        monotonic,
        wall: DateTime::UNIX_EPOCH + monotonic,
    }
}

fn opened(breaker: &mut Breaker, now: u64) {
    for job in ["a", "b", "c"] {
        breaker.failed(Suspect::Job(job), "boom", at(now), TIMES);
    }
    assert!(!breaker.lets_through());
}

#[test]
fn three_different_jobs_in_a_row_open_it_and_say_until_when() {
    let mut breaker = Breaker::default();
    assert!(!breaker.failed(Suspect::Job("a"), "boom", at(0), TIMES));
    assert!(!breaker.failed(Suspect::Job("b"), "boom", at(1), TIMES));
    assert!(breaker.lets_through());
    assert!(breaker.failed(Suspect::Job("c"), "bang", at(2), TIMES));
    let wanted = BreakerState::Open {
        until: Duration::from_secs(12),
        retry_at: at(12).wall,
    };
    assert_eq!((breaker.state(), breaker.why()), (wanted, "bang"));
    assert_eq!(
        breaker.due(Duration::from_secs(5)),
        Some(Duration::from_secs(7))
    );
}

#[test]
fn one_job_that_fails_again_and_again_never_opens_it() {
    let mut breaker = Breaker::default();
    for second in 0..100 {
        assert!(!breaker.failed(Suspect::Job("bad"), "boom", at(second), TIMES));
    }
    assert!(!breaker.failed(Suspect::Job("other"), "boom", at(100), TIMES));
    assert_eq!(breaker.state(), BreakerState::Closed);
}

#[test]
fn what_only_the_server_can_do_counts_every_time() {
    let mut breaker = Breaker::default();
    for second in 0..2 {
        assert!(!breaker.failed(Suspect::Server, "refused", at(second), TIMES));
    }
    assert!(breaker.failed(Suspect::Server, "refused", at(2), TIMES));
}

#[test]
fn a_success_in_between_forgets_what_failed_before() {
    let mut breaker = Breaker::default();
    for round in ["1", "2", "3"] {
        for job in ["a", "b"] {
            let job = format!("{job}{round}");
            assert!(!breaker.failed(Suspect::Job(&job), "boom", at(0), TIMES));
        }
        breaker.close();
    }
    assert_eq!(breaker, Breaker::default());
}

#[test]
fn after_its_time_one_job_decides() {
    let mut breaker = Breaker::default();
    opened(&mut breaker, 0);
    assert!(!breaker.advance(Duration::from_millis(9_999)));
    assert!(breaker.advance(Duration::from_secs(10)));
    assert_eq!(breaker.state(), BreakerState::HalfOpen);
    assert!(breaker.lets_through());
    assert!(
        breaker.failed(Suspect::Job("a"), "boom", at(11), TIMES),
        "a known one decides too"
    );
    assert_eq!(breaker.due(at(11).monotonic), Some(Duration::from_secs(20)));
    assert!(breaker.advance(at(31).monotonic));
    breaker.close();
    assert_eq!(breaker.state(), BreakerState::Closed);
    opened(&mut breaker, 40);
    assert_eq!(
        breaker.due(at(40).monotonic),
        Some(TIMES.first),
        "from the start again"
    );
}

#[test]
fn its_time_doubles_up_to_the_longest() {
    let mut breaker = Breaker::default();
    opened(&mut breaker, 0);
    let mut now = 10;
    for wanted in [20, 35, 35] {
        assert!(breaker.advance(at(now).monotonic));
        assert!(breaker.failed(Suspect::Job("x"), "boom", at(now), TIMES));
        assert_eq!(
            breaker.due(at(now).monotonic),
            Some(Duration::from_secs(wanted))
        );
        now += wanted;
    }
}

#[test]
fn what_ends_while_it_is_open_neither_extends_nor_counts() {
    let mut breaker = Breaker::default();
    opened(&mut breaker, 0);
    let before = breaker.clone();
    assert!(!breaker.failed(Suspect::Server, "late", at(5), TIMES));
    assert_eq!(breaker, before);
}
