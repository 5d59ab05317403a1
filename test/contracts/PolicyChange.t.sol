// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {AppPolicies, AppPolicy, TcbStatuses, TeeVariants} from "../../contracts/governance/AppPolicies.sol";
import {IAppManagement} from "../../contracts/interfaces/IAppManagement.sol";
import {IGoverned} from "../../contracts/interfaces/IGoverned.sol";
import {IManagedAppAuth} from "../../contracts/interfaces/IManagedAppAuth.sol";
import {GovernanceTest} from "./support/GovernanceTest.sol";
import {TestVm, vm} from "./support/TestVm.sol";

/// @notice How an app's policy changes: what is stricter at once, what is looser after the delay.
contract PolicyChangeTest is GovernanceTest {
    function setUp() public override {
        super.setUp();
        vm.startPrank(OWNER);
    }

    // ------------------------------------------------------------ setPolicy

    function test_stricter_policy_holds_at_once() public {
        AppPolicy memory stricter = _strict();
        vm.recordLogs();
        app.setPolicy(stricter);
        TestVm.Log[] memory logs = vm.getRecordedLogs();
        // That it must be up to date is said in dstack's words too.
        vm.assertEq(logs.length, 4);
        _assertNamed(logs[0], address(app), IAppManagement.RequireTcbUpToDateSet.selector, abi.encode(true));
        _assertPolicy(logs[1], address(app), OWNER, "require-tcb-up-to-date", 0, true);
        _assertNamed(logs[2], address(app), IAppManagement.PolicySet.selector, abi.encode(stricter));
        _assertPolicy(logs[3], address(app), OWNER, "policy", AppPolicies.pack(stricter), true);
        _assertSame(app.policy(0), stricter);
        _assertCount(app, 0);
    }

    function test_looser_policy_waits() public {
        app.setPolicy(_strict());
        vm.recordLogs();
        app.setPolicy(_loose());
        TestVm.Log[] memory logs = vm.getRecordedLogs();
        vm.assertEq(logs.length, 1);
        bytes32 value = AppPolicies.pack(_loose());
        _assertScheduled(logs[0], address(app), "policy", 0, value, _due(), "");
        _assertSame(app.policy(0), _strict());
        _assertSame(app.policy(_due() - 1), _strict());
        _assertSame(app.policy(_due()), _loose());

        _pass(DELAY - 1);
        _assertSame(app.policy(0), _strict());
        _pass(1);
        for (uint256 round = 0; round < 2; round++) {
            _assertSame(app.policy(0), _loose());
            vm.assertTrue(app.allowAnyDevice());
            vm.assertFalse(app.requireTcbUpToDate());
            vm.recordLogs();
            app.settle();
            logs = vm.getRecordedLogs();
            vm.assertEq(logs.length, round == 0 ? 7 : 0);
            if (round != 0) continue;
            _assertPolicy(logs[1], address(app), OWNER, "allow-any-device", 0, true);
            _assertPolicy(logs[3], address(app), OWNER, "require-tcb-up-to-date", 0, false);
            _assertPolicy(logs[5], address(app), OWNER, "policy", value, true);
            _assertApplied(logs[6], address(app), "policy", 0, value);
        }
    }

    function test_mixed_policy_is_stricter_at_once_and_looser_later() public {
        AppPolicy memory present = _any();
        present.teeVariants = TeeVariants.TDX;
        app.setPolicy(present);
        AppPolicy memory next = _any();
        next.requireGpu = true;
        app.setPolicy(next);
        AppPolicy memory both = _any();
        both.teeVariants = TeeVariants.TDX;
        both.requireGpu = true;
        _assertSame(app.policy(0), both);
        _assertPending(app, "policy", 0, AppPolicies.pack(next), _due(), "");
        _pass(DELAY);
        _assertSame(app.policy(0), next);
    }

    /// @dev Whichever two follow each other: at no time is anything allowed that the owner did not want both
    /// then and a delay ago.
    function testFuzz_one_policy_after_another(AppPolicy calldata first, AppPolicy calldata second) public {
        app.setPolicy(first);
        _pass(DELAY);
        _assertSame(app.policy(0), first);
        app.setPolicy(second);
        _assertSame(app.policy(0), AppPolicies.meet(first, second));
        _assertSame(app.policy(_due() - 1), AppPolicies.meet(first, second));
        _assertSame(app.policy(_due()), second);
        _pass(DELAY);
        _assertSame(app.policy(0), second);
        app.settle();
        _assertSame(app.policy(0), second);
        _assertCount(app, 0);
    }

    function testFuzz_vetoed_policy_leaves_the_stricter_part(
        AppPolicy calldata first,
        AppPolicy calldata second
    ) public {
        app.setPolicy(first);
        _pass(DELAY);
        app.setPolicy(second);
        AppPolicy memory both = AppPolicies.meet(first, second);
        if (AppPolicies.equals(both, second)) return;
        app.veto(_changeId("policy", 0));
        _assertSame(app.policy(0), both);
        _pass(DELAY);
        _assertSame(app.policy(0), both);
    }

    function test_policy_that_waits_is_replaced() public {
        app.setPolicy(_strict());
        app.setPolicy(_loose());
        _pass(1);
        app.setPolicy(_any());
        _assertCount(app, 1);
        _assertPending(app, "policy", 0, AppPolicies.pack(_any()), _due(), "");
        app.setPolicy(_strict());
        _assertCount(app, 0);
        _pass(DELAY);
        _assertSame(app.policy(0), _strict());
    }

    function test_same_policy_is_no_change() public {
        app.setPolicy(_strict());
        vm.recordLogs();
        app.setPolicy(_strict());
        vm.assertEq(vm.getRecordedLogs().length, 0);
    }

    // ------------------------------------------------------------ dstack's switches

    function test_any_device_waits_and_the_list_does_not() public {
        app.setAllowAnyDevice(true);
        vm.assertFalse(app.allowAnyDevice());
        _pass(DELAY);
        vm.assertTrue(app.allowAnyDevice());
        vm.recordLogs();
        app.setAllowAnyDevice(false);
        vm.assertFalse(app.allowAnyDevice());
        TestVm.Log[] memory logs = vm.getRecordedLogs();
        // The settled one first.
        vm.assertEq(logs.length, 5);
        _assertPolicy(logs[4], address(app), OWNER, "allow-any-device", 0, false);
    }

    function test_looser_tcb_rule_waits_and_the_stricter_does_not() public {
        app.setRequireTcbUpToDate(true);
        vm.assertTrue(app.requireTcbUpToDate());
        app.setRequireTcbUpToDate(false);
        vm.assertTrue(app.requireTcbUpToDate());
        _pass(DELAY);
        vm.assertFalse(app.requireTcbUpToDate());
        app.setRequireTcbUpToDate(true);
        vm.assertTrue(app.requireTcbUpToDate());
    }

    /// @dev A switch changes its own field of what the owner wants, whether that holds yet or not.
    function test_switches_add_to_a_policy_that_waits() public {
        AppPolicy memory present = _any();
        present.teeVariants = TeeVariants.TDX;
        app.setPolicy(present);
        app.setPolicy(_any());
        app.setAllowAnyDevice(true);
        _assertPending(app, "policy", 0, AppPolicies.pack(_loose()), _due(), "");
        app.setRequireTcbUpToDate(true);
        AppPolicy memory wanted = _loose();
        wanted.tcbStatuses = TcbStatuses.UP_TO_DATE;
        _assertPending(app, "policy", 0, AppPolicies.pack(wanted), _due(), "");
        vm.assertTrue(app.requireTcbUpToDate());
        vm.assertFalse(app.allowAnyDevice());
        app.setAllowAnyDevice(false);
        wanted.allowAnyDevice = false;
        _assertPending(app, "policy", 0, AppPolicies.pack(wanted), _due(), "");
        _pass(DELAY);
        _assertSame(app.policy(0), wanted);
    }

    function test_switch_off_withdraws_a_switch_on_that_waits() public {
        app.setAllowAnyDevice(true);
        app.setAllowAnyDevice(false);
        _assertCount(app, 0);
        _pass(DELAY);
        vm.assertFalse(app.allowAnyDevice());
    }

    function test_required_tcb_ends_the_grace() public {
        AppPolicy memory policy = _any();
        policy.tcbStatuses = TcbStatuses.UP_TO_DATE;
        policy.tcbGracePeriod = 100;
        app.setPolicy(policy);
        // Grace is looser than none.
        vm.assertTrue(app.requireTcbUpToDate());
        _pass(DELAY);
        vm.assertFalse(app.requireTcbUpToDate());
        _assertSame(app.policy(0), policy);
        vm.recordLogs();
        app.setRequireTcbUpToDate(true);
        vm.assertTrue(app.requireTcbUpToDate());
        vm.assertEq(uint256(app.policy(0).tcbGracePeriod), 0);
    }

    /// @dev From one up-to-date rule to another that dstack did not have: said as a policy.
    function test_rules_that_dstack_did_not_have_are_said_in_full() public {
        app.setRequireTcbUpToDate(true);
        AppPolicy memory policy = _any();
        policy.tcbStatuses = TcbStatuses.UP_TO_DATE | TcbStatuses.SW_HARDENING_NEEDED;
        app.setPolicy(policy);
        _pass(DELAY);
        vm.recordLogs();
        app.settle();
        TestVm.Log[] memory logs = vm.getRecordedLogs();
        vm.assertEq(logs.length, 5);
        _assertPolicy(logs[1], address(app), OWNER, "require-tcb-up-to-date", 0, false);
        _assertNamed(logs[2], address(app), IAppManagement.PolicySet.selector, abi.encode(policy));
    }

    // ------------------------------------------------------------ advisories

    function test_tolerance_waits_and_its_end_does_not() public {
        app.setAdvisoryTolerated("X", true);
        _assertPending(app, "advisory", "X", "X", _due(), "");
        _pass(DELAY - 1);
        vm.assertFalse(app.toleratedAdvisories("X"));
        _pass(1);
        vm.assertTrue(app.toleratedAdvisories("X"));
        vm.recordLogs();
        app.settle();
        TestVm.Log[] memory logs = vm.getRecordedLogs();
        vm.assertEq(logs.length, 3);
        bytes32 topic = IAppManagement.AdvisoryToleranceSet.selector;
        _assertNamed(logs[0], address(app), topic, abi.encode(bytes32("X"), true));
        _assertPolicy(logs[1], address(app), OWNER, "advisory", "X", true);
        vm.assertTrue(app.toleratedAdvisories("X"));
        // Once more changes nothing and does not wait.
        app.setAdvisoryTolerated("X", true);
        _assertCount(app, 0);
        vm.recordLogs();
        app.setAdvisoryTolerated("X", false);
        logs = vm.getRecordedLogs();
        vm.assertEq(logs.length, 2);
        _assertNamed(logs[0], address(app), topic, abi.encode(bytes32("X"), false));
        vm.assertFalse(app.toleratedAdvisories("X"));
    }

    function test_intolerance_drops_what_waits() public {
        app.setAdvisoryTolerated("X", true);
        app.setAdvisoryTolerated("X", false);
        _assertCount(app, 0);
        _pass(DELAY);
        vm.assertFalse(app.toleratedAdvisories("X"));
    }

    // ------------------------------------------------------------ pause

    function test_pause_at_once_and_unpause_later() public {
        vm.stopPrank();
        vm.startPrank(GUARDIAN);
        vm.recordLogs();
        app.pause();
        _assertChange(
            address(app), GUARDIAN, IAppManagement.AppPaused.selector, abi.encode(GUARDIAN), "paused", 0, true
        );
        vm.assertTrue(app.paused());
        _assertOwnApp(_bootInfo(), "App is paused");

        vm.startPrank(OWNER);
        app.unpause();
        _assertPending(app, "unpaused", 0, 0, _due(), "");
        _pass(DELAY - 1);
        vm.assertTrue(app.paused());
        _pass(1);
        vm.assertFalse(app.paused());
        vm.recordLogs();
        app.settle();
        TestVm.Log[] memory logs = vm.getRecordedLogs();
        vm.assertEq(logs.length, 3);
        _assertNamed(logs[0], address(app), IAppManagement.AppUnpaused.selector, "");
        _assertPolicy(logs[1], address(app), OWNER, "unpaused", 0, true);
        vm.assertFalse(app.paused());
    }

    function test_pause_drops_an_unpause_that_waits() public {
        app.pause();
        app.unpause();
        vm.startPrank(GUARDIAN);
        app.pause();
        _assertCount(app, 0);
        _pass(DELAY);
        vm.assertTrue(app.paused());
    }

    // ------------------------------------------------------------ access and creation

    function testFuzz_only_the_owner_changes_the_policy(address caller) public {
        vm.stopPrank();
        vm.assume(caller != OWNER && caller != address(0));
        bytes[] memory calls = new bytes[](8);
        calls[0] = abi.encodeCall(app.setPolicy, (_strict()));
        calls[1] = abi.encodeCall(app.setAllowAnyDevice, (true));
        calls[2] = abi.encodeCall(app.setRequireTcbUpToDate, (true));
        calls[3] = abi.encodeCall(app.setAdvisoryTolerated, ("X", true));
        calls[4] = abi.encodeCall(app.unpause, ());
        calls[5] = abi.encodeCall(app.addDevice, ("X"));
        calls[6] = abi.encodeCall(app.removeDevice, ("X"));
        calls[7] = abi.encodeCall(app.disableUpgrades, ());
        for (uint256 i = 0; i < calls.length; i++) {
            _assertRefused(address(app), caller, calls[i]);
        }
        if (caller == GUARDIAN) return;
        vm.prank(caller);
        vm.expectRevert(abi.encodeWithSelector(IGoverned.NeitherOwnerNorGuardian.selector, caller));
        app.pause();
    }

    function test_upgrades_are_disabled_for_good() public {
        vm.assertFalse(app.upgradesDisabled());
        app.disableUpgrades();
        vm.assertTrue(app.upgradesDisabled());
    }

    function test_app_begins_as_configured() public {
        bytes32[] memory devices = new bytes32[](2);
        (devices[0], devices[1]) = ("d", "e");
        IAppManagement.AppConfig memory config = IAppManagement.AppConfig({
            owner: STRANGER,
            guardian: GUARDIAN,
            delay: DELAY,
            upgradesDisabled: true,
            policy: _strict(),
            devices: devices,
            composeHash: "compose",
            noteUri: "note"
        });
        IManagedAppAuth made = _initializedApp(_initialize(config));
        vm.assertEq(made.owner(), STRANGER);
        vm.assertEq(made.guardian(), GUARDIAN);
        vm.assertEq(made.delay(), DELAY);
        vm.assertTrue(made.upgradesDisabled());
        _assertSame(made.policy(0), _strict());
        vm.assertTrue(made.allowedDeviceIds("d") && made.allowedDeviceIds("e"));
        vm.assertTrue(made.allowedComposeHashes("compose"));
        vm.assertEq(made.versionOf("compose", 0).noteUri, "note");
        _assertCount(made, 0);

        config.guardian = address(0);
        config.composeHash = 0;
        config.devices = new bytes32[](0);
        made = _initializedApp(_initialize(config));
        vm.assertEq(made.guardian(), address(0));
        vm.assertEq(made.versionCount(), 0);
    }

    function test_app_is_not_made_with_a_bad_configuration() public {
        IAppManagement.AppConfig memory config;
        bytes memory call = _initialize(config);
        _expectReason("invalid owner address");
        _initializedApp(call);
        config.owner = OWNER;
        config.delay = 365 days + 1;
        call = _initialize(config);
        vm.expectRevert(
            abi.encodeWithSelector(IGoverned.DelayTooLong.selector, uint32(365 days + 1), uint32(365 days))
        );
        _initializedApp(call);
        vm.expectRevert(bytes4(keccak256("InvalidInitialization()")));
        app.initialize(config);
    }

    // ------------------------------------------------------------ helpers

    function _initialize(IAppManagement.AppConfig memory config) private pure returns (bytes memory) {
        return abi.encodeWithSignature(
            "initialize((address,address,uint32,bool,(bool,uint8,uint16,uint32,bool,uint32,bool),bytes32[],bytes32,string))",
            config
        );
    }

    function _any() private pure returns (AppPolicy memory) {
        return AppPolicy(false, TeeVariants.ALL, TcbStatuses.ALL, 0, true, 0, false);
    }

    function _loose() private pure returns (AppPolicy memory policy) {
        policy = _any();
        policy.allowAnyDevice = true;
    }

    function _strict() private pure returns (AppPolicy memory) {
        return AppPolicy(false, TeeVariants.TDX, TcbStatuses.UP_TO_DATE, 0, false, 60, true);
    }

    function _assertSame(AppPolicy memory left, AppPolicy memory right) private pure {
        vm.assertEq(abi.encode(left), abi.encode(right));
    }
}
