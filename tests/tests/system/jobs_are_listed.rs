//! Lists show every job once, by filter, a page at a time.

use std::collections::HashMap;

use anyhow::Result;
use stablequeue_proto::jobs::v1::{
    self as jobs, AppType, JobOrder, JobState, ListJobsRequest, SubmitJobRequest,
};
use system_tests::{Pair, PairOptions, pair::txt2img};
use tonic::Code;

async fn list(pair: &Pair, request: ListJobsRequest) -> Result<jobs::ListJobsResponse> {
    Ok(pair.jobs().await?.list_jobs(request).await?.into_inner())
}

async fn ids(pair: &Pair, request: ListJobsRequest) -> Result<Vec<String>> {
    let listed = list(pair, request).await?;
    Ok(listed.jobs.into_iter().map(|job| job.job_id).collect())
}

/// Seven jobs that wait for a server; the even ones have a colour, the third
/// another server and source, the last is cancelled.
async fn seven() -> Result<(Pair, Vec<String>)> {
    let pair = Pair::start(PairOptions::default()).await?;
    let mut ids = Vec::new();
    for number in 0..7 {
        let mut request = SubmitJobRequest {
            labels: HashMap::from([("number".to_owned(), number.to_string())]),
            ..txt2img(&format!("job {number}"))
        };
        if number % 2 == 0 {
            request
                .labels
                .insert("colour of it".to_owned(), "blue".to_owned());
        }
        if number == 3 {
            request.target_server = "attic".to_owned();
            request.app_type = AppType::Browser.into();
        }
        ids.push(pair.submit(request).await?);
    }
    pair.cancel(&ids[6]).await?;
    Ok((pair, ids))
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_join_without_gap_or_repeat_in_every_order() -> Result<()> {
    let (pair, mut submitted) = seven().await?;
    for order in [
        JobOrder::CreateTimeAsc,
        JobOrder::CreateTimeDesc,
        JobOrder::UpdateTimeAsc,
    ] {
        let (mut found, mut token, mut sizes) = (Vec::new(), String::new(), Vec::new());
        loop {
            let request = ListJobsRequest {
                page_size: 3,
                page_token: token,
                order: order.into(),
                ..ListJobsRequest::default()
            };
            let page = list(&pair, request).await?;
            sizes.push(page.jobs.len());
            found.extend(page.jobs.into_iter().map(|job| job.job_id));
            token = page.next_page_token;
            if token.is_empty() {
                break;
            }
        }
        assert_eq!(sizes, [3, 3, 1], "{order:?}");
        match order {
            JobOrder::CreateTimeAsc => assert_eq!(found, submitted),
            JobOrder::CreateTimeDesc => {
                found.reverse();
                assert_eq!(found, submitted);
            }
            _ => {
                found.sort();
                let mut all = submitted.clone();
                all.sort();
                assert_eq!(found, all);
            }
        }
    }
    submitted.reverse();
    assert_eq!(ids(&pair, ListJobsRequest::default()).await?, submitted);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_job_does_not_shift_the_pages_behind() -> Result<()> {
    let (pair, submitted) = seven().await?;
    let first = ListJobsRequest {
        page_size: 4,
        ..ListJobsRequest::default()
    };
    let page = list(&pair, first.clone()).await?;
    pair.submit(txt2img("in between")).await?;
    let rest = ListJobsRequest {
        page_token: page.next_page_token,
        ..first
    };
    let mut wanted = submitted[..3].to_vec();
    wanted.reverse();
    assert_eq!(ids(&pair, rest).await?, wanted);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_hold_all_together() -> Result<()> {
    let (pair, submitted) = seven().await?;
    let oldest_first = ListJobsRequest {
        order: JobOrder::CreateTimeAsc.into(),
        ..ListJobsRequest::default()
    };
    let blue = HashMap::from([("colour of it".to_owned(), "blue".to_owned())]);
    let cases = [
        (
            ListJobsRequest {
                states: vec![JobState::Cancelled.into(), JobState::Failed.into()],
                ..oldest_first.clone()
            },
            vec![6],
        ),
        (
            ListJobsRequest {
                labels: blue.clone(),
                ..oldest_first.clone()
            },
            vec![0, 2, 4, 6],
        ),
        (
            ListJobsRequest {
                labels: blue.clone(),
                states: vec![JobState::Pending.into()],
                ..oldest_first.clone()
            },
            vec![0, 2, 4],
        ),
        (
            ListJobsRequest {
                target_server: "attic".to_owned(),
                ..oldest_first.clone()
            },
            vec![3],
        ),
        (
            ListJobsRequest {
                app_type: AppType::Browser.into(),
                ..oldest_first.clone()
            },
            vec![3],
        ),
        (
            ListJobsRequest {
                app_type: AppType::Browser.into(),
                labels: blue,
                ..oldest_first.clone()
            },
            vec![],
        ),
    ];
    for (request, wanted) in cases {
        let wanted: Vec<String> = wanted
            .into_iter()
            .map(|at: usize| submitted[at].clone())
            .collect();
        assert_eq!(ids(&pair, request.clone()).await?, wanted, "{request:?}");
    }
    let third = pair.job(&submitted[3]).await?.create_time;
    let from = ListJobsRequest {
        create_time_from: third,
        ..oldest_first.clone()
    };
    let to = ListJobsRequest {
        create_time_to: third,
        ..oldest_first
    };
    let (from, to) = (ids(&pair, from).await?, ids(&pair, to).await?);
    assert!(from.contains(&submitted[3]) && !to.contains(&submitted[3]));
    assert_eq!(from.len() + to.len(), 7);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_belongs_to_its_filters() -> Result<()> {
    let (pair, _) = seven().await?;
    let page = list(
        &pair,
        ListJobsRequest {
            page_size: 2,
            ..ListJobsRequest::default()
        },
    )
    .await?;
    let other = ListJobsRequest {
        page_size: 2,
        page_token: page.next_page_token,
        states: vec![JobState::Pending.into()],
        ..ListJobsRequest::default()
    };
    let status = pair.jobs().await?.list_jobs(other).await;
    let status = status.expect_err("the token is of another list");
    assert_eq!(status.code(), Code::InvalidArgument);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_shows_what_was_asked_only_in_full() -> Result<()> {
    let (pair, _) = seven().await?;
    let full = ListJobsRequest {
        view: jobs::JobView::Full.into(),
        ..ListJobsRequest::default()
    };
    let full = list(&pair, full).await?.jobs;
    assert!(full.iter().all(|job| job.request.is_some()));
    let basic = list(&pair, ListJobsRequest::default()).await?.jobs;
    assert!(basic.iter().all(|job| job.request.is_none()));
    Ok(())
}
