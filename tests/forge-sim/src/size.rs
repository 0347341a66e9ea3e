//! How large a picture may be, and how Forge tells that it is too large for its layers or its memory.

use crate::{config::SimConfig, errors::Failure, stage::Device};

/// Bytes per pixel that the recorded server wanted when its allocation failed (exchange 03/29).
const BYTES_PER_PIXEL: u64 = 20;

/// Refuses what the layers or the memory cannot hold.
pub(crate) fn check(width: i64, height: i64, config: &SimConfig) -> Result<(), Failure> {
    if width < 8 || height < 8 {
        let padded = |side: i64| side.max(0) / 8 + 2;
        let message = format!(
            "Calculated padded input size per channel: ({} x {}). Kernel size: (3 x 3). Kernel size can't be greater \
             than actual input size",
            padded(height),
            padded(width)
        );
        return Err(Failure::exception("RuntimeError", message));
    }
    too_big(width, height, config).map_or(Ok(()), Err)
}

/// The failed allocation of a picture with more pixels than fit.
pub(crate) fn too_big(width: i64, height: i64, config: &SimConfig) -> Option<Failure> {
    let side = |side: i64| u64::try_from(side).unwrap_or(0);
    let pixels = side(width).saturating_mul(side(height));
    (pixels > config.max_pixels).then(|| out_of_memory(config.device, pixels))
}

/// How a failed allocation for so many pixels is told.
pub(crate) fn out_of_memory(device: Device, pixels: u64) -> Failure {
    const MIB: u64 = 1024 * 1024;
    let bytes = pixels.saturating_mul(BYTES_PER_PIXEL);
    match device {
        Device::Cpu => Failure::exception(
            "RuntimeError",
            format!(
                "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: you \
                 tried to allocate {bytes} bytes. Error code 12 (Cannot allocate memory)"
            ),
        ),
        Device::Cuda => Failure::exception(
            "OutOfMemoryError",
            format!(
                "CUDA out of memory. Tried to allocate {} MiB.",
                bytes.div_ceil(MIB)
            ),
        ),
    }
}
