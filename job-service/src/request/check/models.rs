//! Whether the models that a request names can be asked for. Which files they
//! are is model-service's to know.

use super::super::{CHECKPOINT_OPTION, limits::*, lora_tags};
use super::Check;

/// Letters that are shown of a name that is too long.
const NAME_CHARS_SHOWN: usize = 40;

impl Check<'_> {
    /// The names of models: one that nobody can look up would keep the job
    /// waiting for ever.
    pub(super) fn models(&mut self) {
        let request = self.request;
        let checkpoint = format!("override_settings.{CHECKPOINT_OPTION}");
        let named = [
            (checkpoint.as_str(), request.checkpoint()),
            ("hr_checkpoint_name", request.hires_checkpoint()),
            ("refiner_checkpoint", request.refiner()),
        ];
        for (path, name) in named {
            if name.is_some_and(|name| name.trim().is_empty()) {
                self.report(path, "is blank; name a model, or leave it out");
            }
        }
        for (path, prompt) in request.lora_prompts() {
            for tag in lora_tags(prompt) {
                self.lora(path, tag.name);
            }
        }
        let models = request.requirements().len();
        if models > MODELS_MAX {
            let text =
                format!("names {models} models with the other prompts; {MODELS_MAX} is the limit");
            self.report("prompt", text);
        }
    }

    fn lora(&mut self, path: &str, name: &str) {
        if name.trim().is_empty() {
            self.report(
                path,
                "has a <lora:…> tag with a blank name; name a LoRA, or take the tag out",
            );
        } else if name.len() > NAME_BYTES_MAX {
            let (bytes, shown) = (name.len(), name.chars().take(NAME_CHARS_SHOWN));
            let shown: String = shown.collect();
            self.report(
                path,
                format!(
                    "has a <lora:…> tag whose name has {bytes} bytes ({shown:?}…); \
                     {NAME_BYTES_MAX} is the limit"
                ),
            );
        }
    }
}
