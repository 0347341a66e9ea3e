//! With many servers and many models no question to model-service is larger
//! than it answers.

use std::sync::Arc;

use anyhow::Result;
use job_service::{
    availability::{Availability, Finding, Reference},
    board::Board,
    hints::Hints,
    model_channel,
};
use service_kit::clock::Clock;
use system_tests::{Pair, PairOptions};

/// job-service's client of the pair's model-service.
pub(crate) fn client(pair: &Pair) -> Result<Availability> {
    let url = format!("http://{}", pair.models_addr());
    let channel = model_channel::channel(&url, None)?;
    let (board, hints) = (Arc::new(Board::default()), Arc::new(Hints::default()));
    Ok(Availability::new(channel, Clock::system(), board, hints))
}

fn references(count: usize) -> Vec<Reference> {
    let named = |number: usize| Reference {
        is_lora: number.is_multiple_of(2),
        text: format!("model-{number}"),
    };
    (0..count).map(named).collect()
}

fn servers(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("gpu-{number}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_asks_for_many_models_of_many_servers_gets_all_answers() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let availability = client(&pair)?;
    // More answers than one question has, and more servers than one names.
    for (models, fleet) in [(256, 40), (300, 257)] {
        let (references, servers) = (references(models), servers(fleet));
        let findings = availability.check(&references, &servers).await?;
        assert_eq!(findings.len(), models * fleet);
        assert!(findings.values().all(|found| *found == Finding::Unknown));
    }
    Ok(())
}
