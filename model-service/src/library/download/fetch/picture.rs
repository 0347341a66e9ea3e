//! Owns how a picture is fetched. It does not know whether it is one.

use std::time::Duration;

use url::Url;

use super::{HEAD_TIMEOUT, REDIRECTS_MAX, SILENCE_MAX, location, silence};
use crate::civitai::Civitai;
use crate::library::Library;

/// How long all of a picture may take.
const PICTURE_TIMEOUT: Duration = Duration::from_secs(120);

/// The bytes of a picture, at most `bytes_max`, within two minutes, or why there are none.
pub(in crate::library::download) async fn picture(
    library: &Library,
    url: &str,
    bytes_max: usize,
) -> Result<Vec<u8>, String> {
    let fetched = fetched(library, url, bytes_max);
    let in_time = library.clock().timeout(PICTURE_TIMEOUT, fetched).await;
    in_time.unwrap_or_else(|_| {
        let seconds = PICTURE_TIMEOUT.as_secs();
        Err(format!("it did not come within {seconds} s"))
    })
}

async fn fetched(library: &Library, url: &str, bytes_max: usize) -> Result<Vec<u8>, String> {
    let mut url = Url::parse(url).map_err(|error| format!("its address is broken: {error}"))?;
    let clock = library.clock();
    for _ in 0..=REDIRECTS_MAX {
        let request = library.civitai().get_storage(url.clone());
        let request = request.map_err(|denied| denied.to_string())?;
        let answered = clock.timeout(HEAD_TIMEOUT, request.send()).await;
        let answered = answered.map_err(|_| silence().to_string())?;
        let mut response = answered.map_err(|error| Civitai::broken(error).to_string())?;
        if response.status().is_redirection() {
            let next = location(&url, response.headers());
            url = next.ok_or("it leads nowhere")?;
            continue;
        }
        if response.status().as_u16() != 200 {
            return Err(format!("the answer was {}", response.status().as_u16()));
        }
        let mut bytes = Vec::new();
        loop {
            let came = clock.timeout(SILENCE_MAX, response.chunk()).await;
            let came = came.map_err(|_| silence().to_string())?;
            match came.map_err(|error| Civitai::broken(error).to_string())? {
                None => return Ok(bytes),
                Some(chunk) if bytes.len() + chunk.len() > bytes_max => {
                    return Err(format!("it has more than {bytes_max} bytes"));
                }
                Some(chunk) => bytes.extend_from_slice(&chunk),
            }
        }
    }
    Err(format!("it is behind more than {REDIRECTS_MAX} redirects"))
}
