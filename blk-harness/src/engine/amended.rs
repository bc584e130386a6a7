//! What an image says about itself once it was amended.

use blk_core::{Detail, Info};

use super::{Run, Step};
use crate::explain::{Scene, finding};
use crate::oracle::content::failed;
use crate::promise::{Promise, Violation};
use crate::scenario::Request;

impl Run<'_> {
    /// Notes an amendment that has succeeded: it holds until the next one, which may take it back.
    pub(super) fn note_amendment(&mut self, request: Request) -> Step {
        let Request::Amend { option } = request else { return Ok(()) };
        self.amended = Some(option);
        self.judge_amendment()
    }

    /// The image says of itself what it was amended to. An option that it does not tell is not judged.
    pub(super) fn judge_amendment(&self) -> Step {
        let Some((name, value)) = self.amended.as_ref().and_then(|option| option.as_str().split_once('='))
        else {
            return Ok(());
        };
        let test = self.bench.test();
        let Some(info) = test.as_info().map(Info::info) else { return Ok(()) };
        let info = info.map_err(|error| failed("asking the image about itself", &error))?;
        let told = info.details.iter().find(|(told, _)| told.replace('-', "_") == name);
        let found = match told.map(|(_, detail)| detail) {
            Some(Detail::Switch(is_on)) => if *is_on { "on" } else { "off" }.to_owned(),
            Some(Detail::Number(number)) => number.to_string(),
            Some(Detail::Text(word)) => word.clone(),
            _ => return Ok(()),
        };
        if found == value {
            return Ok(());
        }
        let what = format!("the image was amended to {name}={value}, and says {found}");
        let violation = Violation::new(Promise::Answers, what);
        Err(finding(&violation, Scene::plain(&self.journal, test.size())))
    }
}
