// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {IAppManagement} from "../../contracts/interfaces/IAppManagement.sol";
import {IKmsManagement} from "../../contracts/interfaces/IKmsManagement.sol";
import {IManagedAppAuth} from "../../contracts/interfaces/IManagedAppAuth.sol";
import {IKmsTypes} from "../../contracts/interfaces/IKmsTypes.sol";
import {ERC1967Proxy} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Proxy.sol";
import {Initializable} from "@openzeppelin/contracts/proxy/utils/Initializable.sol";
import {OwnableUpgradeable} from "@openzeppelin/contracts-upgradeable/access/OwnableUpgradeable.sol";

import {AppAuth} from "../../contracts/AppAuth.sol";
import {KmsAuth} from "../../contracts/KmsAuth.sol";
import {IAppAuth} from "../../contracts/interfaces/IAppAuth.sol";
import {IAppAuthBasicManagement} from "../../contracts/interfaces/IAppAuthBasicManagement.sol";
import {IKmsAuth} from "../../contracts/interfaces/IKmsAuth.sol";
import {BylawTest} from "./support/BylawTest.sol";
import {CustomApp, EchoApp, RevertingApp, ShortAnswerApp, SilentApp} from "./support/Mocks.sol";
import {TestVm, vm} from "./support/TestVm.sol";

contract KmsAuthTest is BylawTest {
    // ------------------------------------------------------------ set-up

    function test_initialize_sets_owner_and_implementation() public view {
        vm.assertEq(kms.owner(), OWNER);
        vm.assertEq(kms.pendingOwner(), address(0));
        vm.assertEq(kms.appImplementation(), address(appImplementation));
        vm.assertEq(kms.gatewayAppId(), "");
    }

    function test_initialize_logs_the_implementation() public {
        IKmsAuth implementation = IKmsAuth(address(new KmsAuth()));
        vm.recordLogs();
        address proxy = address(
            new ERC1967Proxy(
                address(implementation),
                abi.encodeWithSignature("initialize(address,address)", OWNER, address(7))
            )
        );
        TestVm.Log[] memory logs = vm.getRecordedLogs();
        // Upgraded, OwnershipTransferred, AppImplementationSet, PolicyChanged, Initialized
        vm.assertEq(logs.length, 5);
        _assertNamed(logs[2], proxy, IKmsManagement.AppImplementationSet.selector, abi.encode(address(7)));
        _assertPolicy(logs[3], proxy, address(this), "app-implementation", _word(address(7)), true);
    }

    function test_initialize_without_implementation_logs_none() public {
        IKmsAuth implementation = IKmsAuth(address(new KmsAuth()));
        vm.recordLogs();
        IKmsAuth closed = IKmsAuth(
            address(
                new ERC1967Proxy(
                    address(implementation),
                    abi.encodeWithSignature("initialize(address,address)", OWNER, address(0))
                )
            )
        );
        // Upgraded, OwnershipTransferred, Initialized
        vm.assertEq(vm.getRecordedLogs().length, 3);
        vm.assertEq(closed.appImplementation(), address(0));
    }

    function test_initialize_refuses_zero_owner() public {
        address implementation = address(new KmsAuth());
        vm.expectRevert(abi.encodeWithSelector(OwnableUpgradeable.OwnableInvalidOwner.selector, address(0)));
        new ERC1967Proxy(
            implementation, abi.encodeWithSignature("initialize(address,address)", address(0), address(7))
        );
    }

    function test_initialize_works_once() public {
        vm.expectRevert(Initializable.InvalidInitialization.selector);
        kms.initialize(STRANGER, address(0));
    }

    function test_implementation_cannot_be_initialized() public {
        IKmsAuth implementation = IKmsAuth(address(new KmsAuth()));
        vm.expectRevert(Initializable.InvalidInitialization.selector);
        implementation.initialize(STRANGER, address(0));
    }

    // ------------------------------------------------------------ settings

    function testFuzz_setKmsInfo(IKmsTypes.KmsInfo calldata info) public {
        vm.recordLogs();
        vm.prank(OWNER);
        kms.setKmsInfo(info);
        _assertChange(
            address(kms),
            OWNER,
            IKmsManagement.KmsInfoSet.selector,
            abi.encode(info.k256Pubkey),
            "kms-info",
            keccak256(info.k256Pubkey),
            true
        );
        _assertInfo(info.k256Pubkey, info.caPubkey, info.quote, info.eventlog);
    }

    function testFuzz_setKmsQuote_changes_the_quote(bytes calldata quote) public {
        _setInfo();
        vm.recordLogs();
        vm.prank(OWNER);
        kms.setKmsQuote(quote);
        _assertEvidenceSet(keccak256(quote), keccak256("event log"));
        _assertInfo("k256", "ca", quote, "event log");
    }

    function testFuzz_setKmsEventlog_changes_the_event_log(bytes calldata eventlog) public {
        _setInfo();
        vm.recordLogs();
        vm.prank(OWNER);
        kms.setKmsEventlog(eventlog);
        _assertEvidenceSet(keccak256("quote"), keccak256(eventlog));
        _assertInfo("k256", "ca", "quote", eventlog);
    }

    function testFuzz_setGatewayAppId_takes_any_text(string calldata appId) public {
        vm.recordLogs();
        vm.prank(OWNER);
        kms.setGatewayAppId(appId);
        _assertChange(
            address(kms),
            OWNER,
            IKmsManagement.GatewayAppIdSet.selector,
            abi.encode(appId),
            "gateway-app-id",
            keccak256(bytes(appId)),
            true
        );
        vm.assertEq(kms.gatewayAppId(), appId);
    }

    function testFuzz_setAppImplementation(address implementation) public {
        vm.assume(implementation != address(0));
        vm.recordLogs();
        vm.prank(OWNER);
        kms.setAppImplementation(implementation);
        _assertChange(
            address(kms),
            OWNER,
            IKmsManagement.AppImplementationSet.selector,
            abi.encode(implementation),
            "app-implementation",
            _word(implementation),
            true
        );
        vm.assertEq(kms.appImplementation(), implementation);
    }

    function test_setAppImplementation_refuses_zero() public {
        _expectReason("Invalid implementation address");
        vm.prank(OWNER);
        kms.setAppImplementation(address(0));
    }

    // ------------------------------------------------------------ lists

    function testFuzz_kms_measurements_come_and_go(bytes32 mr, bytes32 other) public {
        vm.assume(other != mr);
        vm.startPrank(OWNER);
        for (uint256 round = 0; round < 2; round++) {
            // The second time changes nothing and is logged all the same.
            vm.recordLogs();
            kms.addKmsAggregatedMr(mr);
            _assertListed(IKmsManagement.KmsAggregatedMrAdded.selector, "kms-aggregated-mr", mr, true);
            vm.assertTrue(kms.kmsAllowedAggregatedMrs(mr));
        }
        vm.assertFalse(kms.kmsAllowedAggregatedMrs(other));
        for (uint256 round = 0; round < 2; round++) {
            vm.recordLogs();
            kms.removeKmsAggregatedMr(mr);
            _assertListed(IKmsManagement.KmsAggregatedMrRemoved.selector, "kms-aggregated-mr", mr, false);
            vm.assertFalse(kms.kmsAllowedAggregatedMrs(mr));
        }
    }

    function testFuzz_kms_devices_come_and_go(bytes32 device, bytes32 other) public {
        vm.assume(other != device);
        vm.startPrank(OWNER);
        for (uint256 round = 0; round < 2; round++) {
            vm.recordLogs();
            kms.addKmsDevice(device);
            _assertListed(IKmsManagement.KmsDeviceAdded.selector, "kms-device", device, true);
            vm.assertTrue(kms.kmsAllowedDeviceIds(device));
        }
        vm.assertFalse(kms.kmsAllowedDeviceIds(other));
        for (uint256 round = 0; round < 2; round++) {
            vm.recordLogs();
            kms.removeKmsDevice(device);
            _assertListed(IKmsManagement.KmsDeviceRemoved.selector, "kms-device", device, false);
            vm.assertFalse(kms.kmsAllowedDeviceIds(device));
        }
    }

    function testFuzz_os_images_come_and_go(bytes32 image, bytes32 other) public {
        vm.assume(other != image);
        vm.startPrank(OWNER);
        for (uint256 round = 0; round < 2; round++) {
            vm.recordLogs();
            kms.addOsImageHash(image);
            _assertListed(IKmsManagement.OsImageHashAdded.selector, "os-image", image, true);
            vm.assertTrue(kms.allowedOsImages(image));
        }
        vm.assertFalse(kms.allowedOsImages(other));
        for (uint256 round = 0; round < 2; round++) {
            vm.recordLogs();
            kms.removeOsImageHash(image);
            _assertListed(IKmsManagement.OsImageHashRemoved.selector, "os-image", image, false);
            vm.assertFalse(kms.allowedOsImages(image));
        }
    }

    // ------------------------------------------------------------ registration and factory

    function testFuzz_anyone_registers_an_app(address caller, address appId) public {
        vm.assume(appId != address(0));
        vm.assertFalse(kms.registeredApps(appId));
        for (uint256 round = 0; round < 2; round++) {
            vm.recordLogs();
            vm.prank(caller);
            kms.registerApp(appId);
            _assertChange(
                address(kms),
                caller,
                IKmsManagement.AppRegistered.selector,
                abi.encode(appId),
                "registered-app",
                _word(appId),
                true
            );
            vm.assertTrue(kms.registeredApps(appId));
        }
    }

    function test_registerApp_refuses_zero() public {
        _expectReason("Invalid app ID");
        kms.registerApp(address(0));
    }

    function testFuzz_factory_makes_the_app_it_was_asked_for(
        address owner,
        bool upgradesDisabled,
        bool requireTcbUpToDate,
        bool allowAnyDevice,
        bytes32 device,
        bytes32 composeHash
    ) public {
        vm.assume(owner != address(0));
        vm.prank(STRANGER);
        IManagedAppAuth made = IManagedAppAuth(
            kms.deployAndRegisterApp(
                owner, upgradesDisabled, requireTcbUpToDate, allowAnyDevice, device, composeHash
            )
        );
        _assertMade(made, owner, upgradesDisabled, requireTcbUpToDate, allowAnyDevice, device, composeHash);
    }

    function testFuzz_older_factory_demands_no_tcb_status(
        address owner,
        bool upgradesDisabled,
        bool allowAnyDevice,
        bytes32 device,
        bytes32 composeHash
    ) public {
        vm.assume(owner != address(0));
        vm.prank(STRANGER);
        IManagedAppAuth made = IManagedAppAuth(
            kms.deployAndRegisterApp(owner, upgradesDisabled, allowAnyDevice, device, composeHash)
        );
        _assertMade(made, owner, upgradesDisabled, false, allowAnyDevice, device, composeHash);
    }

    function test_factory_deploys_by_plain_create() public {
        address first = vm.computeCreateAddress(address(kms), vm.getNonce(address(kms)));
        address second = vm.computeCreateAddress(address(kms), vm.getNonce(address(kms)) + 1);
        vm.assertEq(kms.deployAndRegisterApp(OWNER, false, true, 0, 0), first);
        vm.assertEq(kms.deployAndRegisterApp(OWNER, false, true, 0, 0), second);
    }

    function test_factory_logs_app_then_registration_then_deployment() public {
        vm.recordLogs();
        vm.prank(STRANGER);
        address appId = kms.deployAndRegisterApp(OWNER, true, true, true, "device", "compose");
        TestVm.Log[] memory logs = vm.getRecordedLogs();
        // The app's: Upgraded, OwnershipTransferred, device, compose hash, its version,
        // Initialized; none for the three flags.
        vm.assertEq(logs.length, 11);
        _assertNamed(
            logs[2], appId, IAppAuthBasicManagement.DeviceAdded.selector, abi.encode(bytes32("device"))
        );
        _assertPolicy(logs[3], appId, address(kms), "device", "device", true);
        _assertNamed(
            logs[4], appId, IAppAuthBasicManagement.ComposeHashAdded.selector, abi.encode(bytes32("compose"))
        );
        _assertPolicy(logs[5], appId, address(kms), "compose-hash", "compose", true);
        vm.assertEq(logs[6].topics[0], IAppManagement.VersionAdded.selector);
        vm.assertEq(logs[7].topics[0], Initializable.Initialized.selector);
        _assertNamed(logs[8], address(kms), IKmsManagement.AppRegistered.selector, abi.encode(appId));
        _assertPolicy(logs[9], address(kms), STRANGER, "registered-app", _word(appId), true);

        vm.assertEq(logs[10].emitter, address(kms));
        vm.assertEq(logs[10].topics.length, 3);
        vm.assertEq(logs[10].topics[0], IKmsManagement.AppDeployedViaFactory.selector);
        vm.assertEq(logs[10].topics[1], _word(appId));
        vm.assertEq(logs[10].topics[2], _word(STRANGER));
        vm.assertEq(logs[10].data, "");
    }

    function test_factory_refuses_without_implementation() public {
        kms = _newKms(OWNER, address(0));
        // Before it looks at the owner.
        _expectReason("DstackApp implementation not set");
        kms.deployAndRegisterApp(address(0), false, false, true, 0, 0);
        _expectReason("DstackApp implementation not set");
        kms.deployAndRegisterApp(OWNER, false, true, 0, 0);
    }

    function test_factory_refuses_zero_owner() public {
        _expectReason("Invalid owner address");
        kms.deployAndRegisterApp(address(0), false, false, true, 0, 0);
        _expectReason("Invalid owner address");
        kms.deployAndRegisterApp(address(0), false, true, 0, 0);
    }

    function test_apps_keep_their_implementation_when_the_factory_changes() public {
        address appId = kms.deployAndRegisterApp(OWNER, false, true, 0, 0);
        address next = address(new AppAuth());
        vm.prank(OWNER);
        kms.setAppImplementation(next);
        vm.assertEq(vm.load(appId, IMPLEMENTATION_SLOT), _word(address(appImplementation)));
        vm.assertEq(
            vm.load(kms.deployAndRegisterApp(OWNER, false, true, 0, 0), IMPLEMENTATION_SLOT), _word(next)
        );
    }

    // ------------------------------------------------------------ isKmsAllowed

    /// @dev Every combination of the four rules against the table, first match first.
    function test_kms_decision_table() public {
        for (uint256 broken = 0; broken < 16; broken++) {
            kms = _newKms(OWNER, address(0));
            IAppAuth.AppBootInfo memory boot = _bootInfo();
            vm.startPrank(OWNER);
            if (broken & 1 != 0) boot.tcbStatus = "OutOfDate";
            if (broken & 2 == 0) kms.addOsImageHash(boot.osImageHash);
            if (broken & 4 == 0) kms.addKmsAggregatedMr(boot.mrAggregated);
            if (broken & 8 == 0) kms.addKmsDevice(boot.deviceId);
            vm.stopPrank();
            _assertKms(boot, _kmsModel(broken));
        }
    }

    function testFuzz_kms_decides_as_the_model(
        IAppAuth.AppBootInfo memory boot,
        bool upToDate,
        bool image,
        bool mr,
        bool device
    ) public {
        vm.assume(!_same(boot.tcbStatus, "UpToDate"));
        if (upToDate) boot.tcbStatus = "UpToDate";
        vm.startPrank(OWNER);
        if (image) kms.addOsImageHash(boot.osImageHash);
        if (mr) kms.addKmsAggregatedMr(boot.mrAggregated);
        if (device) kms.addKmsDevice(boot.deviceId);
        vm.stopPrank();
        _assertKms(boot, _kmsModel((upToDate ? 0 : 1) | (image ? 0 : 2) | (mr ? 0 : 4) | (device ? 0 : 8)));
    }

    function test_kms_tcb_status_is_compared_byte_by_byte() public {
        IAppAuth.AppBootInfo memory boot = _allowedKms();
        string[9] memory others = [
            "",
            "uptodate",
            "UPTODATE",
            "UpToDate ",
            " UpToDate",
            unicode"UpToDate\u0000",
            "UpToDat",
            "SWHardeningNeeded",
            "OutOfDate"
        ];
        for (uint256 i = 0; i < others.length; i++) {
            boot.tcbStatus = others[i];
            _assertKms(boot, "TCB status is not up to date");
        }
        boot.tcbStatus = "UpToDate";
        _assertKms(boot, "");
    }

    function testFuzz_kms_other_fields_do_not_matter(
        address appId,
        bytes32 composeHash,
        address instanceId,
        bytes32 mrSystem,
        string[] calldata advisoryIds
    ) public {
        IAppAuth.AppBootInfo memory boot = _allowedKms();
        boot.appId = appId;
        boot.composeHash = composeHash;
        boot.instanceId = instanceId;
        boot.mrSystem = mrSystem;
        boot.advisoryIds = advisoryIds;
        _assertKms(boot, "");
    }

    function test_retired_values_are_denied() public {
        IAppAuth.AppBootInfo memory boot = _allowedKms();
        vm.startPrank(OWNER);
        kms.removeKmsDevice(boot.deviceId);
        _assertKms(boot, "KMS is not allowed to boot on this device");
        kms.removeKmsAggregatedMr(boot.mrAggregated);
        _assertKms(boot, "Aggregated MR not allowed");
        kms.removeOsImageHash(boot.osImageHash);
        _assertKms(boot, "OS image is not allowed");
    }

    // ------------------------------------------------------------ isAppAllowed

    /// @dev Every combination of the KMS contract's own rules; the app itself allows.
    function test_app_decision_table() public {
        for (uint256 broken = 0; broken < 8; broken++) {
            kms = _newKms(OWNER, address(0));
            IAppAuth.AppBootInfo memory boot = _bootInfo();
            boot.tcbStatus = "open sesame";
            boot.appId = broken & 4 != 0 ? address(0xE0A) : address(new CustomApp());
            if (broken & 1 == 0) kms.registerApp(boot.appId);
            if (broken & 2 == 0) {
                vm.prank(OWNER);
                kms.addOsImageHash(boot.osImageHash);
            }

            (bool isAllowed, string memory reason) = kms.isAppAllowed(boot);
            vm.assertEq(isAllowed, broken == 0);
            if (broken & 1 != 0) vm.assertEq(reason, "App not registered");
            else if (broken & 2 != 0) vm.assertEq(reason, "OS image is not allowed");
            else if (broken & 4 != 0) vm.assertEq(reason, "App not deployed or invalid address");
            else vm.assertEq(reason, "by its own rule");
        }
    }

    function test_app_answer_is_passed_on() public {
        IAppAuth.AppBootInfo memory boot = _registered(address(new CustomApp()));
        boot.tcbStatus = "a reason of its own";
        _assertApp(boot, "a reason of its own");
    }

    function testFuzz_app_is_asked_what_the_kms_was_asked(IAppAuth.AppBootInfo memory boot) public {
        boot.appId = _registered(address(new EchoApp())).appId;
        vm.prank(OWNER);
        kms.addOsImageHash(boot.osImageHash);
        (, string memory echo) = kms.isAppAllowed(boot);
        vm.assertEq(bytes(echo), abi.encode(boot));
    }

    function test_app_tcb_status_is_the_apps_concern() public {
        IAppAuth.AppBootInfo memory boot = _registered(address(app));
        boot.tcbStatus = "OutOfDate";
        vm.startPrank(OWNER);
        app.addComposeHash(boot.composeHash);
        app.addDevice(boot.deviceId);
        _assertApp(boot, "");
        app.setRequireTcbUpToDate(true);
        _assertApp(boot, "TCB status is not up to date");
    }

    function test_app_that_reverts_makes_the_kms_revert() public {
        IAppAuth.AppBootInfo memory boot = _registered(address(new RevertingApp()));
        vm.expectRevert(abi.encodeWithSelector(RevertingApp.Closed.selector, 42));
        kms.isAppAllowed(boot);
    }

    function test_app_that_answers_too_little_is_no_approval() public {
        IAppAuth.AppBootInfo memory boot = _registered(address(new ShortAnswerApp()));
        vm.expectRevert();
        kms.isAppAllowed(boot);

        boot = _registered(address(new SilentApp()));
        vm.expectRevert();
        kms.isAppAllowed(boot);
    }

    function test_kms_registered_as_its_own_app_approves_nothing() public {
        IAppAuth.AppBootInfo memory boot = _registered(address(kms));
        (bool answered,) = address(kms).staticcall{gas: 5_000_000}(abi.encodeCall(kms.isAppAllowed, (boot)));
        vm.assertFalse(answered);
    }

    function test_registration_does_not_open_another_app() public {
        IAppAuth.AppBootInfo memory boot = _registered(address(new CustomApp()));
        boot.tcbStatus = "open sesame";
        boot.appId = address(app);
        _assertApp(boot, "App not registered");
    }

    // ------------------------------------------------------------ access

    /// @dev Whoever is not the owner changes nothing and leaves no log.
    function testFuzz_only_the_owner_manages(address caller) public {
        vm.assume(caller != OWNER && caller != address(0));
        bytes[] memory calls = new bytes[](11);
        calls[0] = abi.encodeCall(kms.setKmsInfo, (IKmsTypes.KmsInfo("a", "b", "c", "d")));
        calls[1] = abi.encodeCall(kms.setKmsQuote, ("q"));
        calls[2] = abi.encodeCall(kms.setKmsEventlog, ("e"));
        calls[3] = abi.encodeCall(kms.setGatewayAppId, ("g"));
        calls[4] = abi.encodeCall(kms.setAppImplementation, (address(1)));
        calls[5] = abi.encodeCall(kms.addKmsAggregatedMr, ("m"));
        calls[6] = abi.encodeCall(kms.removeKmsAggregatedMr, ("m"));
        calls[7] = abi.encodeCall(kms.addKmsDevice, ("d"));
        calls[8] = abi.encodeCall(kms.removeKmsDevice, ("d"));
        calls[9] = abi.encodeCall(kms.addOsImageHash, ("i"));
        calls[10] = abi.encodeCall(kms.removeOsImageHash, ("i"));
        for (uint256 i = 0; i < calls.length; i++) {
            _assertRefused(address(kms), caller, calls[i]);
        }
        vm.assertEq(kms.appImplementation(), address(appImplementation));
        vm.assertFalse(kms.allowedOsImages("i"));
    }

    function test_ownership_moves_in_two_steps() public {
        _assertTwoStepOwnership(address(kms));
    }

    // ------------------------------------------------------------ helpers

    function _kmsModel(uint256 broken) private pure returns (string memory) {
        if (broken & 1 != 0) return "TCB status is not up to date";
        if (broken & 2 != 0) return "OS image is not allowed";
        if (broken & 4 != 0) return "Aggregated MR not allowed";
        if (broken & 8 != 0) return "KMS is not allowed to boot on this device";
        return "";
    }

    function _same(string memory left, string memory right) private pure returns (bool) {
        return keccak256(bytes(left)) == keccak256(bytes(right));
    }

    function _allowedKms() private returns (IAppAuth.AppBootInfo memory boot) {
        boot = _bootInfo();
        vm.startPrank(OWNER);
        kms.addOsImageHash(boot.osImageHash);
        kms.addKmsAggregatedMr(boot.mrAggregated);
        kms.addKmsDevice(boot.deviceId);
        vm.stopPrank();
        _assertKms(boot, "");
    }

    /// @dev A boot info for this app that passes the KMS contract's own rules.
    function _registered(address appId) private returns (IAppAuth.AppBootInfo memory boot) {
        boot = _bootInfo();
        boot.appId = appId;
        kms.registerApp(appId);
        vm.prank(OWNER);
        kms.addOsImageHash(boot.osImageHash);
    }

    function _setInfo() private {
        vm.prank(OWNER);
        kms.setKmsInfo(IKmsTypes.KmsInfo("k256", "ca", "quote", "event log"));
    }

    function _assertInfo(bytes memory k256, bytes memory ca, bytes memory quote, bytes memory eventlog)
        private
        view
    {
        (bytes memory a, bytes memory b, bytes memory c, bytes memory d) = kms.kmsInfo();
        vm.assertEq(a, k256);
        vm.assertEq(b, ca);
        vm.assertEq(c, quote);
        vm.assertEq(d, eventlog);
    }

    function _assertEvidenceSet(bytes32 quoteHash, bytes32 eventlogHash) private {
        TestVm.Log[] memory logs = vm.getRecordedLogs();
        vm.assertEq(logs.length, 2);
        _assertNamed(
            logs[0], address(kms), IKmsManagement.KmsEvidenceSet.selector, abi.encode(quoteHash, eventlogHash)
        );
        _assertPolicy(logs[1], address(kms), OWNER, "kms-evidence", quoteHash, true);
    }

    function _assertListed(bytes32 topic, string memory label, bytes32 value, bool enabled) private {
        _assertChange(address(kms), OWNER, topic, abi.encode(value), label, value, enabled);
    }

    function _assertMade(
        IManagedAppAuth made,
        address owner,
        bool upgradesDisabled,
        bool requireTcbUpToDate,
        bool allowAnyDevice,
        bytes32 device,
        bytes32 composeHash
    ) private view {
        vm.assertTrue(kms.registeredApps(address(made)));
        vm.assertEq(vm.load(address(made), IMPLEMENTATION_SLOT), _word(address(appImplementation)));
        vm.assertEq(made.owner(), owner);
        vm.assertEq(made.requireTcbUpToDate(), requireTcbUpToDate);
        vm.assertEq(made.allowAnyDevice(), allowAnyDevice);
        vm.assertEq(made.allowedDeviceIds(device), device != 0);
        vm.assertEq(made.allowedComposeHashes(composeHash), composeHash != 0);
        vm.assertEq(uint256(vm.load(address(made), bytes32(uint256(1)))) & 0xff != 0, upgradesDisabled);
    }
}
