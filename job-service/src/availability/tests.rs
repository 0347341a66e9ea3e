use super::*;

fn answers(from: usize, to: usize) -> Findings {
    let answer = |number: usize| {
        let reference = Reference {
            is_lora: true,
            text: number.to_string(),
        };
        (("gpu".to_owned(), reference), Finding::Missing)
    };
    (from..to).map(answer).collect()
}

#[test]
fn never_more_answers_are_kept_than_the_limit() {
    let mut heard = Heard::new();
    let at = Duration::from_secs(1);
    add(&mut heard, &answers(0, KEPT_MAX - 1), at);
    add(&mut heard, &answers(KEPT_MAX, KEPT_MAX + 1), at);
    assert_eq!(heard.len(), KEPT_MAX, "as many as there may be");
    add(&mut heard, &answers(KEPT_MAX + 1, KEPT_MAX + 3), at);
    assert_eq!(heard.len(), 2, "it began anew");
    add(&mut heard, &answers(0, KEPT_MAX + 10), at);
    assert_eq!(heard.len(), KEPT_MAX, "more than the limit at once");
}
