// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {AppPolicies, AppPolicy, TcbStatuses, TeeVariants} from "../../contracts/governance/AppPolicies.sol";
import {IAppAuth} from "../../contracts/interfaces/IAppAuth.sol";
import {Facts, RuleVerdict} from "../../contracts/interfaces/IAppPolicy.sol";
import {BylawTest} from "./support/BylawTest.sol";
import {vm} from "./support/TestVm.sol";

/// @notice What an app may demand of a VM, rule by rule.
contract PolicyTest is BylawTest {
    uint64 private constant START = 1_800_000_000;
    string private constant NOT_UP_TO_DATE = "TCB status is not up to date";

    IAppAuth.AppBootInfo private boot;
    Facts private facts;

    function setUp() public override {
        super.setUp();
        vm.warp(START);
        boot = _bootInfo();
        facts = Facts(START, TeeVariants.TDX, 0, true);
        vm.startPrank(OWNER);
        app.addComposeHash(boot.composeHash);
        app.addDevice(boot.deviceId);
        vm.stopPrank();
    }

    // ------------------------------------------------------------ as it begins

    function test_new_app_demands_what_dstacks_did() public view {
        _assertPolicy(app.policy(0), _anything());
        _assertReason("");
    }

    // ------------------------------------------------------------ TCB status

    /// @dev Each status is good for its own bit and no other.
    function test_every_tcb_status() public {
        string[11] memory texts = _statuses();
        for (uint256 allowed = 0; allowed < 10; allowed++) {
            AppPolicy memory policy = _anything();
            policy.tcbStatuses = uint16(1 << allowed);
            _set(policy);
            for (uint256 i = 0; i < texts.length; i++) {
                boot.tcbStatus = texts[i];
                // No text at all is not reported either.
                uint256 bit = i == 10 ? 8 : i;
                string memory refusal =
                    allowed == 0 ? NOT_UP_TO_DATE : string.concat("TCB status ", texts[i], " is not allowed");
                _assertReason(bit == allowed ? "" : refusal);
                vm.assertEq(uint256(TcbStatuses.bitOf(texts[i])), 1 << bit);
            }
            vm.assertEq(app.requireTcbUpToDate(), allowed == 0);
        }
    }

    function testFuzz_any_other_status_is_unknown(string calldata text) public pure {
        string[11] memory texts = _statuses();
        for (uint256 i = 0; i < texts.length; i++) {
            if (i == 9) continue;
            vm.assume(keccak256(bytes(text)) != keccak256(bytes(texts[i])));
        }
        vm.assertEq(uint256(TcbStatuses.bitOf(text)), uint256(TcbStatuses.UNKNOWN));
    }

    function test_all_statuses_include_the_unknown() public {
        boot.tcbStatus = "uptodate";
        _assertReason("");
        AppPolicy memory policy = _anything();
        policy.tcbStatuses = TcbStatuses.ALL ^ TcbStatuses.UNKNOWN;
        _set(policy);
        _assertReason("TCB status uptodate is not allowed");
    }

    function test_no_status_at_all() public {
        AppPolicy memory policy = _anything();
        policy.tcbStatuses = 0;
        _set(policy);
        _assertReason("TCB status UpToDate is not allowed");
    }

    // ------------------------------------------------------------ grace period

    function test_grace_period_ends_to_the_second() public {
        _setGrace(TcbStatuses.UP_TO_DATE, 100);
        string[2] memory outdated = ["OutOfDate", "OutOfDateConfigurationNeeded"];
        for (uint256 i = 0; i < outdated.length; i++) {
            boot.tcbStatus = outdated[i];
            facts.tcbOutdatedSince = START - 99;
            _assertReason("");
            _assertReasonAt(START + 1, _graceEnded(START + 1));
            facts.tcbOutdatedSince = START - 100;
            _assertReason(_graceEnded(START));
            facts.tcbOutdatedSince = START;
            _assertReasonAt(START + 99, "");
            _assertReasonAt(START + 100, _graceEnded(START + 100));
        }
    }

    function test_grace_needs_to_know_since_when() public {
        _setGrace(TcbStatuses.UP_TO_DATE, 100);
        boot.tcbStatus = "OutOfDate";
        facts.tcbOutdatedSince = 0;
        _assertReason("It is not known since when the TCB is out of date");
        // Nor does whoever asks without facts.
        _assertOwnApp(boot, "It is not known since when the TCB is out of date");
    }

    function test_grace_excuses_nothing_else() public {
        _setGrace(TcbStatuses.UP_TO_DATE, 100);
        facts.tcbOutdatedSince = START;
        boot.tcbStatus = "SWHardeningNeeded";
        _assertReason(NOT_UP_TO_DATE);
        _setGrace(TcbStatuses.UP_TO_DATE | TcbStatuses.NOT_REPORTED, 100);
        _assertReason("TCB status SWHardeningNeeded is not allowed");
        boot.tcbStatus = "OutOfDate";
        _assertReason("");
    }

    function test_no_grace_for_what_is_allowed_anyway() public {
        _setGrace(TcbStatuses.OUT_OF_DATE, 100);
        boot.tcbStatus = "OutOfDate";
        _assertReason("");
    }

    function test_grace_does_not_overflow() public {
        _setGrace(TcbStatuses.UP_TO_DATE, type(uint32).max);
        boot.tcbStatus = "OutOfDate";
        facts.tcbOutdatedSince = type(uint64).max;
        _assertReasonAt(type(uint64).max, "");
    }

    function testFuzz_grace(uint32 period, uint64 since, uint64 time) public {
        vm.assume(time >= START && period != 0 && since != 0);
        _setGrace(TcbStatuses.UP_TO_DATE, period);
        boot.tcbStatus = "OutOfDate";
        facts.tcbOutdatedSince = since;
        uint256 end = uint256(since) + period;
        _assertReasonAt(time, time < end ? "" : _graceEnded(end));
    }

    // ------------------------------------------------------------ TEE variant

    function testFuzz_variants(uint8 allowed, uint8 bit) public {
        AppPolicy memory policy = _anything();
        policy.teeVariants = allowed;
        _set(policy);
        facts.teeVariant = uint8(1 << (bit % 8));
        bool good = allowed == 0xff || allowed & facts.teeVariant != 0;
        _assertReason(good ? "" : "TEE variant is not allowed");
        facts.teeVariant = 0;
        _assertReason(allowed == 0xff ? "" : "TEE variant is not known");
        _assertOwnApp(boot, allowed == 0xff ? "" : "TEE variant is not known");
    }

    // ------------------------------------------------------------ advisories

    function test_advisories() public {
        boot.advisoryIds.push("INTEL-SA-00828");
        boot.advisoryIds.push("INTEL-SA-00837");
        _assertReason("");
        AppPolicy memory policy = _anything();
        policy.anyAdvisory = false;
        _set(policy);
        _assertReason("Advisory INTEL-SA-00828 is not tolerated");
        vm.startPrank(OWNER);
        app.setAdvisoryTolerated("INTEL-SA-00828", true);
        _assertReason("Advisory INTEL-SA-00837 is not tolerated");
        app.setAdvisoryTolerated("INTEL-SA-00837", true);
        _assertReason("");
        app.setAdvisoryTolerated("INTEL-SA-00828", false);
        _assertReason("Advisory INTEL-SA-00828 is not tolerated");
    }

    function test_advisory_that_is_too_long_for_the_list() public {
        AppPolicy memory policy = _anything();
        policy.anyAdvisory = false;
        _set(policy);
        boot.advisoryIds.push("an id of exactly thirty-two byte");
        vm.startPrank(OWNER);
        app.setAdvisoryTolerated("an id of exactly thirty-two byte", true);
        vm.stopPrank();
        _assertReason("");
        boot.advisoryIds[0] = "an id of exactly thirty-two bytes";
        _assertReason("Advisory an id of exactly thirty-two bytes is not tolerated");
    }

    function test_no_advisories() public {
        AppPolicy memory policy = _anything();
        policy.anyAdvisory = false;
        _set(policy);
        _assertReason("");
        boot.advisoryIds.push("");
        _assertReason("Advisory  is not tolerated");
    }

    // ------------------------------------------------------------ GPU

    function test_gpu_attestation() public {
        facts.gpuAttested = false;
        _assertReason("");
        AppPolicy memory policy = _anything();
        policy.requireGpu = true;
        _set(policy);
        _assertReason("GPU attestation is required");
        _assertOwnApp(boot, "GPU attestation is required");
        facts.gpuAttested = true;
        _assertReason("");
    }

    // ------------------------------------------------------------ age of the chain state

    function test_state_age() public {
        AppPolicy memory policy = _anything();
        policy.maxStateAge = 60;
        _set(policy);
        facts.time = START + 60;
        _assertReason("");
        facts.time = START + 61;
        _assertReason("Chain state is older than 60 seconds");
        // A clock that is behind tells nothing bad.
        facts.time = 1;
        _assertReason("");
        facts.time = 0;
        _assertReason("Age of the chain state is not known");
        _assertOwnApp(boot, "Age of the chain state is not known");
    }

    function testFuzz_state_age(uint32 age, uint64 time, uint64 clock) public {
        vm.assume(time >= START && age != 0 && clock != 0);
        AppPolicy memory policy = _anything();
        policy.maxStateAge = age;
        _set(policy);
        facts.time = clock;
        bool good = clock <= uint256(time) + age;
        string memory refusal = string.concat("Chain state is older than ", vm.toString(age), " seconds");
        _assertReasonAt(time, good ? "" : refusal);
    }

    // ------------------------------------------------------------ all of them

    /// @dev The first one that fails gives the reason, and all that fail are told.
    function test_rules_in_order() public {
        string[8] memory rules = [
            "not paused",
            "TCB status",
            "compose hash",
            "device",
            "TEE variant",
            "advisories",
            "GPU attestation",
            "chain state age"
        ];
        string[8] memory reasons = [
            "App is paused",
            NOT_UP_TO_DATE,
            "Compose hash not allowed",
            "Device not allowed",
            "TEE variant is not allowed",
            "Advisory X is not tolerated",
            "GPU attestation is required",
            "Chain state is older than 60 seconds"
        ];
        _set(AppPolicy(false, TeeVariants.TDX, TcbStatuses.UP_TO_DATE, 0, false, 60, true));
        RuleVerdict[] memory verdicts = app.explain(boot, facts, 0);
        vm.assertEq(verdicts.length, 8);
        for (uint256 i = 0; i < 8; i++) {
            vm.assertEq(verdicts[i].rule, rules[i]);
            vm.assertTrue(verdicts[i].passed);
            vm.assertEq(verdicts[i].reason, "");
        }
        vm.startPrank(OWNER);
        // From the last to the first: each comes before what failed already.
        for (uint256 round = 0; round < 8; round++) {
            uint256 i = 7 - round;
            if (i == 7) facts.time = START + 61;
            else if (i == 6) facts.gpuAttested = false;
            else if (i == 5) boot.advisoryIds.push("X");
            else if (i == 4) facts.teeVariant = TeeVariants.SEV_SNP;
            else if (i == 3) app.removeDevice(boot.deviceId);
            else if (i == 2) app.removeComposeHash(boot.composeHash);
            else if (i == 1) boot.tcbStatus = "Revoked";
            else app.pause();
            (bool isAllowed, string memory reason) = app.decide(boot, facts, 0);
            _assertVerdict(isAllowed, reason, reasons[i]);
            verdicts = app.explain(boot, facts, 0);
            for (uint256 j = 0; j < 8; j++) {
                vm.assertEq(verdicts[j].rule, rules[j]);
                vm.assertEq(verdicts[j].passed, j < i);
                vm.assertEq(verdicts[j].reason, j < i ? "" : reasons[j]);
            }
        }
    }

    function testFuzz_decides_exactly_as_explained(
        AppPolicy calldata policy,
        Facts calldata known,
        uint64 time,
        uint8 status
    ) public {
        _set(policy);
        facts = known;
        boot.tcbStatus = _statuses()[status % 11];
        (bool isAllowed, string memory reason) = app.decide(boot, facts, time);
        RuleVerdict[] memory verdicts = app.explain(boot, facts, time);
        string memory expected = "";
        for (uint256 i = 0; i < verdicts.length; i++) {
            vm.assertEq(verdicts[i].passed, bytes(verdicts[i].reason).length == 0);
            if (bytes(expected).length == 0) expected = verdicts[i].reason;
        }
        _assertVerdict(isAllowed, reason, expected);
    }

    // ------------------------------------------------------------ order of policies

    function testFuzz_policy_fits_into_a_word(AppPolicy calldata policy) public pure {
        _assertPolicy(AppPolicies.unpack(AppPolicies.pack(policy)), policy);
    }

    function testFuzz_policy_is_kept_as_it_was_set(AppPolicy calldata policy) public {
        _set(policy);
        _assertPolicy(app.policy(0), policy);
        vm.assertEq(app.allowAnyDevice(), policy.allowAnyDevice);
        vm.assertEq(
            app.requireTcbUpToDate(),
            policy.tcbStatuses == TcbStatuses.UP_TO_DATE && policy.tcbGracePeriod == 0
        );
    }

    /// @dev Each field for itself: the stricter of the two.
    function testFuzz_meet(AppPolicy calldata a, AppPolicy calldata b) public pure {
        AppPolicy memory both = AppPolicies.meet(a, b);
        _assertPolicy(AppPolicies.meet(b, a), both);
        _assertPolicy(AppPolicies.meet(a, a), a);
        _assertPolicy(AppPolicies.meet(both, a), both);
        _assertPolicy(AppPolicies.meet(a, _anything()), _grace(a, 0));
        vm.assertEq(both.allowAnyDevice, a.allowAnyDevice && b.allowAnyDevice);
        vm.assertEq(uint256(both.teeVariants), uint256(a.teeVariants & b.teeVariants));
        vm.assertEq(uint256(both.tcbStatuses), uint256(a.tcbStatuses & b.tcbStatuses));
        vm.assertEq(both.anyAdvisory, a.anyAdvisory && b.anyAdvisory);
        vm.assertEq(both.requireGpu, a.requireGpu || b.requireGpu);
        vm.assertTrue(both.tcbGracePeriod <= a.tcbGracePeriod && both.tcbGracePeriod <= b.tcbGracePeriod);
        if (a.maxStateAge == 0 || b.maxStateAge == 0) {
            vm.assertEq(uint256(both.maxStateAge), uint256(a.maxStateAge) + b.maxStateAge);
        } else {
            vm.assertTrue(both.maxStateAge <= a.maxStateAge && both.maxStateAge <= b.maxStateAge);
        }
    }

    // ------------------------------------------------------------ helpers

    function _anything() private pure returns (AppPolicy memory) {
        return AppPolicy(false, TeeVariants.ALL, TcbStatuses.ALL, 0, true, 0, false);
    }

    /// @dev Any device too, so that {_anything} is as loose as can be in all but the grace period.
    function _grace(AppPolicy memory policy, uint32 period) private pure returns (AppPolicy memory changed) {
        changed = AppPolicies.unpack(AppPolicies.pack(policy));
        changed.tcbGracePeriod = period;
        changed.allowAnyDevice = false;
    }

    function _set(AppPolicy memory policy) private {
        vm.prank(OWNER);
        app.setPolicy(policy);
    }

    function _setGrace(uint16 statuses, uint32 period) private {
        AppPolicy memory policy = _anything();
        policy.tcbStatuses = statuses;
        policy.tcbGracePeriod = period;
        _set(policy);
    }

    function _graceEnded(uint256 end) private pure returns (string memory) {
        return string.concat("The grace period for the outdated TCB ended at ", vm.toString(end));
    }

    function _statuses() private pure returns (string[11] memory) {
        return [
            "UpToDate",
            "SWHardeningNeeded",
            "ConfigurationNeeded",
            "ConfigurationAndSWHardeningNeeded",
            "OutOfDate",
            "OutOfDateConfigurationNeeded",
            "TDRelaunchAdvised",
            "TDRelaunchAdvisedConfigurationNeeded",
            "NotReported",
            "Revoked",
            ""
        ];
    }

    function _assertReason(string memory expected) private view {
        _assertReasonAt(0, expected);
    }

    function _assertReasonAt(uint64 time, string memory expected) private view {
        (bool isAllowed, string memory reason) = app.decide(boot, facts, time);
        _assertVerdict(isAllowed, reason, expected);
    }

    function _assertPolicy(AppPolicy memory left, AppPolicy memory right) private pure {
        vm.assertEq(abi.encode(left), abi.encode(right));
    }
}
