//! Families of numbers, each with a name, a sentence, and a number for each set of labels.

use std::{borrow::Cow, fmt};

use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeMetric as _},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};

/// A name and a text. The text must be displayable.
pub(super) type Labelled<'a> = (&'static str, Cow<'a, str>);

/// Writes families one after the other; one without numbers is left out.
pub(super) struct Writer<'a>(DescriptorEncoder<'a>);

impl<'a> Writer<'a> {
    pub(super) fn new(encoder: DescriptorEncoder<'a>) -> Self {
        Self(encoder)
    }

    /// Numbers that go up and down.
    pub(super) fn gauge<'l, const LABELS: usize, Number: EncodeGaugeValue>(
        &mut self,
        name: &'static str,
        help: &'static str,
        numbers: impl IntoIterator<Item = ([Labelled<'l>; LABELS], Number)>,
    ) -> fmt::Result {
        let mut numbers = numbers.into_iter().peekable();
        if numbers.peek().is_none() {
            return Ok(());
        }
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, number) in numbers {
            ConstGauge::new(number).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    /// Numbers that only grow. Their names end in `_total`, which is added.
    pub(super) fn counter<'l, const LABELS: usize, Number: EncodeCounterValue>(
        &mut self,
        name: &'static str,
        help: &'static str,
        numbers: impl IntoIterator<Item = ([Labelled<'l>; LABELS], Number)>,
    ) -> fmt::Result {
        let mut numbers = numbers.into_iter().peekable();
        if numbers.peek().is_none() {
            return Ok(());
        }
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, number) in numbers {
            ConstCounter::new(number).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
