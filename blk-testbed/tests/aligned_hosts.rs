//! Hosts that demand an alignment, under the engines that crash, fail and race: what lies beside a request is
//! rewritten with it, and stays as it was.

use blk_harness::Purpose;
use blk_harness::generate::Generator;
use blk_testbed::suite;

#[test]
fn a_host_that_demands_an_alignment_raises_no_false_alarm() {
    for (name, count) in
        [("verify_fault_raw", 20), ("verify_fault", 6), ("verify_crash", 6), ("verify_race", 30)]
    {
        let suite = suite(name).expect("a suite that is listed");
        let mut runner = suite.start(Purpose::Fuzz);
        for (mut scenario, at) in Generator::new(suite.space(), 5, suite.limits()).take(count).zip(0..) {
            scenario.config.host_alignment = [4096, 512][at % 2];
            let outcome = runner.run(&scenario);
            if let Some(finding) = outcome.finding() {
                panic!("{name}: {}\n{scenario}", finding.report());
            }
        }
    }
}
