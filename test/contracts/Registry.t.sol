// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {AppAuth} from "../../contracts/AppAuth.sol";
import {AppPolicy, TcbStatuses, TeeVariants} from "../../contracts/governance/AppPolicies.sol";
import {IAppAuth} from "../../contracts/interfaces/IAppAuth.sol";
import {IAppManagement} from "../../contracts/interfaces/IAppManagement.sol";
import {IGoverned} from "../../contracts/interfaces/IGoverned.sol";
import {IKmsManagement} from "../../contracts/interfaces/IKmsManagement.sol";
import {IManagedAppAuth} from "../../contracts/interfaces/IManagedAppAuth.sol";
import {GovernanceTest} from "./support/GovernanceTest.sol";
import {CustomApp, RevertingApp, ShortAnswerApp, SilentApp} from "./support/Mocks.sol";
import {TestVm, vm} from "./support/TestVm.sol";

/// @notice Which apps exist at a KMS: registration and its end, pause, and the factory.
contract RegistryTest is GovernanceTest {
    address private constant APP_OWNER = address(0xA0);
    address private constant CREATOR = address(0xC4EA);

    IAppAuth.AppBootInfo private boot;

    function setUp() public override {
        super.setUp();
        app = _newApp(APP_OWNER, false);
        boot = _bootInfo();
        vm.startPrank(APP_OWNER);
        app.addComposeHash(boot.composeHash);
        app.addDevice(boot.deviceId);
        vm.stopPrank();
        vm.prank(OWNER);
        kms.addOsImageHash(boot.osImageHash);
        kms.registerApp(address(app));
        _pass(DELAY);
        kms.settle();
        _assertApp(boot, "");
    }

    // ------------------------------------------------------------ deregistration

    function test_owner_deregisters() public {
        _assertDeregisters(OWNER);
    }

    function test_app_deregisters_itself() public {
        _assertDeregisters(address(app));
    }

    function test_owner_of_the_app_deregisters() public {
        _assertDeregisters(APP_OWNER);
    }

    function testFuzz_nobody_else_deregisters(address caller) public {
        vm.assume(caller != OWNER && caller != APP_OWNER && caller != address(app));
        _expectMayNot(address(app), caller);
        vm.prank(caller);
        kms.deregisterApp(address(app));
        _expectMayNot(address(app), GUARDIAN);
        vm.prank(GUARDIAN);
        kms.deregisterApp(address(app));
        _assertApp(boot, "");
    }

    /// @dev Whatever an app's contract answers, or does not: it has no owner then.
    function test_apps_without_an_owner() public {
        address[5] memory apps = [
            address(new CustomApp()),
            address(new RevertingApp()),
            address(new ShortAnswerApp()),
            address(new SilentApp()),
            address(0xE0A)
        ];
        for (uint256 i = 0; i < apps.length; i++) {
            kms.registerApp(apps[i]);
            _expectMayNot(apps[i], STRANGER);
            vm.prank(STRANGER);
            kms.deregisterApp(apps[i]);
            vm.assertTrue(kms.registeredApps(apps[i]));
        }
    }

    function test_app_whose_owner_gave_it_up() public {
        vm.prank(APP_OWNER);
        app.renounceOwnership();
        _expectMayNot(address(app), APP_OWNER);
        vm.prank(APP_OWNER);
        kms.deregisterApp(address(app));
    }

    function test_deregistered_app_returns_after_the_delay() public {
        vm.startPrank(OWNER);
        kms.deregisterApp(address(app));
        vm.recordLogs();
        kms.registerApp(address(app));
        TestVm.Log[] memory logs = vm.getRecordedLogs();
        vm.assertEq(logs.length, 1);
        bytes32 word = _word(address(app));
        _assertScheduled(logs[0], address(kms), "registered-app", word, word, _due(), "");
        _pass(DELAY - 1);
        _assertApp(boot, "App was deregistered");
        _pass(1);
        for (uint256 round = 0; round < 2; round++) {
            vm.assertTrue(kms.registeredApps(address(app)));
            vm.assertFalse(kms.deregisteredApps(address(app)));
            _assertApp(boot, "");
            vm.recordLogs();
            kms.settle();
            logs = vm.getRecordedLogs();
            vm.assertEq(logs.length, round == 0 ? 3 : 0);
            if (round != 0) continue;
            _assertNamed(
                logs[0], address(kms), IKmsManagement.AppRegistered.selector, abi.encode(address(app))
            );
            _assertPolicy(logs[1], address(kms), OWNER, "registered-app", word, true);
            _assertApplied(logs[2], address(kms), "registered-app", word, word);
        }
    }

    function test_deregistering_drops_a_registration_that_waits() public {
        vm.startPrank(OWNER);
        kms.deregisterApp(address(app));
        kms.registerApp(address(app));
        vm.stopPrank();
        vm.prank(APP_OWNER);
        kms.deregisterApp(address(app));
        _assertCount(kms, 0);
        _pass(DELAY);
        _assertApp(boot, "App was deregistered");
    }

    function testFuzz_nobody_else_registers_again(address caller) public {
        vm.assume(caller != OWNER && caller != address(0));
        vm.prank(OWNER);
        kms.deregisterApp(address(app));
        _assertRefused(address(kms), caller, abi.encodeCall(kms.registerApp, (address(app))));
    }

    // ------------------------------------------------------------ pause

    function test_guardian_pauses_an_app() public {
        _assertPauses(GUARDIAN);
    }

    function test_owner_pauses_an_app() public {
        _assertPauses(OWNER);
    }

    function testFuzz_nobody_else_pauses(address caller) public {
        vm.assume(caller != OWNER && caller != GUARDIAN && caller != address(0));
        vm.expectRevert(abi.encodeWithSelector(IGoverned.NeitherOwnerNorGuardian.selector, caller));
        vm.prank(caller);
        kms.pauseApp(address(app));
        _assertRefused(address(kms), caller, abi.encodeCall(kms.unpauseApp, (address(app))));
        _assertRefused(address(kms), GUARDIAN, abi.encodeCall(kms.unpauseApp, (address(app))));
    }

    function test_unpausing_waits() public {
        bytes32 word = _word(address(app));
        vm.startPrank(OWNER);
        kms.pauseApp(address(app));
        kms.unpauseApp(address(app));
        _assertPending(kms, "app-unpaused", word, word, _due(), "");
        _pass(DELAY - 1);
        _assertApp(boot, "App is paused at the KMS contract");
        _pass(1);
        for (uint256 round = 0; round < 2; round++) {
            vm.assertFalse(kms.pausedApps(address(app)));
            _assertApp(boot, "");
            vm.recordLogs();
            kms.settle();
            TestVm.Log[] memory logs = vm.getRecordedLogs();
            vm.assertEq(logs.length, round == 0 ? 3 : 0);
            if (round != 0) continue;
            _assertNamed(logs[0], address(kms), IKmsManagement.AppUnpaused.selector, abi.encode(address(app)));
            _assertPolicy(logs[1], address(kms), OWNER, "app-unpaused", word, true);
        }
    }

    function test_pausing_drops_an_unpause_that_waits() public {
        vm.startPrank(OWNER);
        kms.pauseApp(address(app));
        kms.unpauseApp(address(app));
        vm.stopPrank();
        vm.prank(GUARDIAN);
        kms.pauseApp(address(app));
        _assertCount(kms, 0);
        _pass(DELAY);
        _assertApp(boot, "App is paused at the KMS contract");
    }

    function test_other_apps_are_not_paused() public {
        vm.prank(GUARDIAN);
        kms.pauseApp(address(0xE0A));
        _assertApp(boot, "");
    }

    // ------------------------------------------------------------ createApp

    function test_app_is_created_where_it_was_predicted() public {
        IAppManagement.AppConfig memory config = _config();
        address predicted = kms.predictApp(CREATOR, "salt");
        vm.recordLogs();
        vm.prank(CREATOR);
        IManagedAppAuth made = IManagedAppAuth(kms.createApp(config, "salt"));
        TestVm.Log[] memory logs = vm.getRecordedLogs();
        vm.assertEq(address(made), predicted);
        TestVm.Log memory last = logs[logs.length - 1];
        vm.assertEq(last.emitter, address(kms));
        vm.assertEq(last.topics[0], IKmsManagement.AppDeployedViaFactory.selector);
        vm.assertEq(last.topics[1], _word(predicted));
        vm.assertEq(last.topics[2], _word(CREATOR));
        _assertNamed(
            logs[logs.length - 3], address(kms), IKmsManagement.AppRegistered.selector, abi.encode(predicted)
        );

        vm.assertEq(vm.load(predicted, IMPLEMENTATION_SLOT), _word(address(appImplementation)));
        vm.assertTrue(kms.registeredApps(predicted));
        vm.assertEq(made.owner(), APP_OWNER);
        vm.assertEq(made.guardian(), GUARDIAN);
        vm.assertEq(made.delay(), DELAY);
        vm.assertEq(abi.encode(made.policy(0)), abi.encode(config.policy));
        vm.assertTrue(made.allowedDeviceIds(boot.deviceId));
        vm.assertTrue(made.allowedComposeHashes(boot.composeHash));
        vm.assertEq(made.versionOf(boot.composeHash, 0).noteUri, "note");
        boot.appId = predicted;
        _assertApp(boot, "");
    }

    /// @dev The salt is the caller's: nobody else gets there first.
    function testFuzz_address_belongs_to_its_creator(address other, bytes32 salt) public {
        vm.assume(other != CREATOR);
        address predicted = kms.predictApp(CREATOR, salt);
        address theirs = kms.predictApp(other, salt);
        vm.assertFalse(predicted == theirs);
        vm.prank(other);
        vm.assertEq(kms.createApp(_config(), salt), theirs);
        vm.prank(CREATOR);
        vm.assertEq(kms.createApp(_config(), salt), predicted);
    }

    function testFuzz_salts_tell_apps_apart(bytes32 one, bytes32 other) public view {
        vm.assume(one != other);
        vm.assertFalse(kms.predictApp(CREATOR, one) == kms.predictApp(CREATOR, other));
    }

    function test_address_does_not_depend_on_implementation_or_configuration() public {
        address predicted = kms.predictApp(CREATOR, "salt");
        address next = address(new AppAuth());
        vm.prank(OWNER);
        kms.setAppImplementation(next);
        _pass(DELAY);
        // Not settled, and in effect all the same.
        vm.assertEq(kms.appImplementation(), next);
        vm.assertEq(kms.predictApp(CREATOR, "salt"), predicted);
        IAppManagement.AppConfig memory config = _config();
        config.owner = STRANGER;
        config.devices = new bytes32[](0);
        vm.prank(CREATOR);
        vm.assertEq(kms.createApp(config, "salt"), predicted);
        vm.assertEq(vm.load(predicted, IMPLEMENTATION_SLOT), _word(next));
    }

    function test_salt_is_good_for_one_app() public {
        vm.startPrank(CREATOR);
        kms.createApp(_config(), "salt");
        vm.expectRevert();
        kms.createApp(_config(), "salt");
        kms.createApp(_config(), "other");
    }

    function test_created_app_is_initialized() public {
        address made = kms.createApp(_config(), "salt");
        vm.expectRevert(bytes4(keccak256("InvalidInitialization()")));
        IManagedAppAuth(made).initialize(_config());
    }

    function test_app_that_was_registered_before_it_was_created() public {
        address predicted = kms.predictApp(CREATOR, "salt");
        kms.registerApp(predicted);
        vm.prank(CREATOR);
        vm.assertEq(kms.createApp(_config(), "salt"), predicted);
        vm.assertTrue(kms.registeredApps(predicted));
    }

    function test_app_that_was_deregistered_before_it_was_created() public {
        address predicted = kms.predictApp(CREATOR, "salt");
        vm.prank(OWNER);
        kms.deregisterApp(predicted);
        _expectReason("App was deregistered");
        vm.prank(CREATOR);
        kms.createApp(_config(), "salt");
        address next = vm.computeCreateAddress(address(kms), vm.getNonce(address(kms)));
        vm.prank(OWNER);
        kms.deregisterApp(next);
        _expectReason("App was deregistered");
        kms.deployAndRegisterApp(APP_OWNER, false, true, 0, 0);
    }

    function test_app_that_was_paused_before_it_was_created() public {
        address predicted = kms.predictApp(CREATOR, "salt");
        vm.prank(GUARDIAN);
        kms.pauseApp(predicted);
        vm.prank(CREATOR);
        kms.createApp(_config(), "salt");
        boot.appId = predicted;
        _assertApp(boot, "App is paused at the KMS contract");
    }

    // ------------------------------------------------------------ factory

    function test_closed_factory_makes_nothing() public {
        kms = _newKms(OWNER, address(0));
        _expectReason("DstackApp implementation not set");
        kms.createApp(_config(), "salt");
        vm.prank(OWNER);
        kms.setAppImplementation(address(appImplementation));
        kms.createApp(_config(), "salt");
    }

    function test_factory_refuses_bad_configurations() public {
        IAppManagement.AppConfig memory config = _config();
        config.owner = address(0);
        _expectReason("Invalid owner address");
        kms.createApp(config, "salt");
        config = _config();
        config.delay = 365 days + 1;
        vm.expectRevert(
            abi.encodeWithSelector(IGoverned.DelayTooLong.selector, uint32(365 days + 1), uint32(365 days))
        );
        kms.createApp(config, "salt");
        // Nothing of it is left.
        kms.createApp(_config(), "salt");
    }

    /// @dev An app can only be created by a contract that names an implementation.
    function test_implementation_without_code_makes_nothing() public {
        kms = _newKms(OWNER, address(0xE0A));
        vm.expectRevert();
        kms.createApp(_config(), "salt");
        vm.expectRevert();
        kms.deployAndRegisterApp(APP_OWNER, false, false, 0, 0);
    }

    function test_older_factory_takes_a_matured_implementation() public {
        address next = address(new AppAuth());
        vm.prank(OWNER);
        kms.setAppImplementation(next);
        address before = kms.deployAndRegisterApp(APP_OWNER, false, true, 0, 0);
        vm.assertEq(vm.load(before, IMPLEMENTATION_SLOT), _word(address(appImplementation)));
        _pass(DELAY);
        address made = kms.deployAndRegisterApp(APP_OWNER, false, true, true, 0, 0);
        vm.assertEq(vm.load(made, IMPLEMENTATION_SLOT), _word(next));
    }

    // ------------------------------------------------------------ helpers

    function _config() private view returns (IAppManagement.AppConfig memory config) {
        config.owner = APP_OWNER;
        config.guardian = GUARDIAN;
        config.delay = DELAY;
        config.policy = AppPolicy(true, TeeVariants.ALL, TcbStatuses.UP_TO_DATE, 0, true, 0, false);
        config.devices = new bytes32[](1);
        config.devices[0] = keccak256("device id");
        config.composeHash = keccak256("compose");
        config.noteUri = "note";
        vm.assertEq(config.composeHash, boot.composeHash);
    }

    function _assertDeregisters(address by) private {
        vm.recordLogs();
        vm.prank(by);
        kms.deregisterApp(address(app));
        _assertChange(
            address(kms),
            by,
            IKmsManagement.AppDeregistered.selector,
            abi.encode(address(app), by),
            "registered-app",
            _word(address(app)),
            false
        );
        vm.assertFalse(kms.registeredApps(address(app)));
        vm.assertTrue(kms.deregisteredApps(address(app)));
        _assertApp(boot, "App was deregistered");
    }

    function _assertPauses(address by) private {
        vm.recordLogs();
        vm.prank(by);
        kms.pauseApp(address(app));
        _assertChange(
            address(kms),
            by,
            IKmsManagement.AppPaused.selector,
            abi.encode(address(app), by),
            "app-paused",
            _word(address(app)),
            true
        );
        vm.assertTrue(kms.pausedApps(address(app)));
        _assertApp(boot, "App is paused at the KMS contract");
    }

    function _expectMayNot(address appId, address caller) private {
        vm.expectRevert(abi.encodeWithSelector(IKmsManagement.MayNotDeregister.selector, appId, caller));
    }
}
