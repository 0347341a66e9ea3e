//! What servers are not given for a while survives a restart, and no more.

use std::time::Duration;

use chrono::DateTime;

use super::{Fixture, now, vault};
use crate::{
    cooldowns::{Cooldown, Subject},
    store::{
        cooldowns,
        servers::{self, ServerChange},
    },
};

fn cooldown(subject: Subject, failures: u32) -> Cooldown {
    Cooldown {
        subject,
        failures,
        until: DateTime::UNIX_EPOCH + Duration::from_secs(u64::from(failures)),
        message: "it failed".to_owned(),
    }
}

impl Fixture {
    fn cooldowns(&mut self) -> Vec<(String, Cooldown)> {
        cooldowns::all(&mut self.connection).unwrap()
    }

    fn cool(&mut self, alias: &str, over: &[Subject], began: Option<&Cooldown>) {
        cooldowns::change(&mut self.connection, alias, over, began).unwrap();
    }
}

#[test]
fn cooldowns_are_read_back_replaced_and_removed() {
    let mut fixture = Fixture::new();
    let model = cooldown(Subject::model("x.safetensors"), 1);
    let size = cooldown(Subject::Pixels(4_096), 2);
    fixture.cool("a", &[], Some(&model));
    fixture.cool("a", &[], Some(&size));
    fixture.cool("b", &[], Some(&model));
    let again = cooldown(Subject::model("x.safetensors"), 3);
    fixture.cool("a", &[], Some(&again));
    let of = |alias: &str, one: &Cooldown| (alias.to_owned(), one.clone());
    let wanted = [of("a", &size), of("a", &again), of("b", &model)];
    assert_eq!(fixture.cooldowns(), wanted);
    let smaller = cooldown(Subject::Pixels(1_024), 1);
    fixture.cool("a", std::slice::from_ref(&size.subject), Some(&smaller));
    fixture.cool("a", &[again.subject], None);
    let wanted = [of("a", &smaller), of("b", &model)];
    assert_eq!(fixture.cooldowns(), wanted);
    cooldowns::clear(&mut fixture.connection, "a").unwrap();
    assert_eq!(fixture.cooldowns(), [of("b", &model)]);
}

#[test]
fn a_server_that_moves_or_goes_leaves_none_behind() {
    let mut fixture = Fixture::new();
    let model = cooldown(Subject::model("x.safetensors"), 1);
    for alias in ["a", "b", "c"] {
        fixture.add_server(alias);
        fixture.cool(alias, &[], Some(&model));
    }
    let conn = &mut fixture.connection;
    let moved = ServerChange {
        base_url: Some("http://elsewhere".to_owned()),
        ..ServerChange::default()
    };
    servers::update(conn, &vault(), "a", &moved, None, now()).unwrap();
    let stays = ServerChange {
        base_url: Some("http://b".to_owned()),
        ..ServerChange::default()
    };
    servers::update(conn, &vault(), "b", &stays, None, now()).unwrap();
    servers::delete(conn, "c").unwrap();
    let left: Vec<String> = fixture
        .cooldowns()
        .into_iter()
        .map(|(alias, _)| alias)
        .collect();
    assert_eq!(left, ["b"]);
}
