//! Owns what people, sidecars and headers say of a model beyond what Civitai's metadata holds. It
//! does not own who said it (`findings.rs`).

/// What somebody says of a model. Absent means that nobody said it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Details {
    /// What somebody wrote of it.
    pub description: Option<String>,
    /// What a prompt has to say so that it works.
    pub activation_text: Option<String>,
    /// The weight that suits it in a prompt.
    pub preferred_weight: Option<Weight>,
    /// What a negative prompt should say with it.
    pub negative_text: Option<String>,
    /// Notes.
    pub notes: Option<String>,
    /// Its family, in the word of whoever said it.
    pub sd_version: Option<String>,
}

/// A weight in a prompt: any finite number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Weight(f64);

// A finite number equals itself.
impl Eq for Weight {}

impl Weight {
    /// Takes a finite number.
    #[must_use]
    pub fn new(number: f64) -> Option<Self> {
        number.is_finite().then_some(Self(number))
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> f64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_is_finite() {
        for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(Weight::new(number), None);
        }
        assert_eq!(Weight::new(-0.5).map(Weight::get), Some(-0.5));
    }
}
