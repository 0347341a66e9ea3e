//! Downloads from a stand-in for Civitai and its storage, which is slow, wrong, cut, refuses or lies.

mod broken;
mod fixture;
mod missing;
mod missing_fates;
mod placed;
mod queued;
mod refused;
