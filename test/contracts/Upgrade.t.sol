// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {IManagedAppAuth} from "../../contracts/interfaces/IManagedAppAuth.sol";
import {IKmsTypes} from "../../contracts/interfaces/IKmsTypes.sol";
import {IERC1967} from "@openzeppelin/contracts/interfaces/IERC1967.sol";
import {ERC1967Proxy} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Proxy.sol";
import {ERC1967Utils} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Utils.sol";
import {Initializable} from "@openzeppelin/contracts/proxy/utils/Initializable.sol";
import {UUPSUpgradeable} from "@openzeppelin/contracts/proxy/utils/UUPSUpgradeable.sol";

import {AppAuth} from "../../contracts/AppAuth.sol";
import {KmsAuth} from "../../contracts/KmsAuth.sol";
import {IAppAuth} from "../../contracts/interfaces/IAppAuth.sol";
import {IGoverned} from "../../contracts/interfaces/IGoverned.sol";
import {IKmsAuth} from "../../contracts/interfaces/IKmsAuth.sol";
import {BylawTest} from "./support/BylawTest.sol";
import {
    AppAuthV2,
    DstackAppStorage,
    DstackKmsStorage,
    KmsAuthV2,
    NotUpgradeable,
    WrongSlot
} from "./support/Mocks.sol";
import {TestVm, vm} from "./support/TestVm.sol";

contract UpgradeTest is BylawTest {
    // ------------------------------------------------------------ the gate

    function test_owner_upgrades_kms() public {
        vm.startPrank(OWNER);
        kms.addOsImageHash("image");
        address next = address(new KmsAuthV2());
        _upgradeAndCheckLogs(address(kms), next);
        vm.assertEq(KmsAuthV2(payable(address(kms))).addedInV2(), 2);
        vm.assertTrue(kms.allowedOsImages("image"));
        vm.assertEq(kms.owner(), OWNER);
        vm.assertEq(kms.appImplementation(), address(appImplementation));
    }

    function test_owner_upgrades_app() public {
        vm.startPrank(OWNER);
        app.addComposeHash("compose");
        address next = address(new AppAuthV2());
        _upgradeAndCheckLogs(address(app), next);
        vm.assertEq(AppAuthV2(payable(address(app))).addedInV2(), 2);
        vm.assertTrue(app.allowedComposeHashes("compose"));
        vm.assertEq(app.owner(), OWNER);
    }

    function test_upgrade_runs_a_call_in_the_new_code() public {
        address next = address(new KmsAuthV2());
        vm.prank(OWNER);
        kms.upgradeToAndCall(next, abi.encodeCall(KmsAuthV2.initializeV2, ("gateway")));
        vm.assertEq(kms.gatewayAppId(), "gateway");
        vm.expectRevert(Initializable.InvalidInitialization.selector);
        KmsAuthV2(payable(address(kms))).initializeV2("again");
    }

    function testFuzz_nobody_else_upgrades(address caller) public {
        vm.assume(caller != OWNER && caller != address(0));
        address nextKms = address(new KmsAuthV2());
        address nextApp = address(new AppAuthV2());
        _assertRefused(address(kms), caller, abi.encodeCall(kms.upgradeToAndCall, (nextKms, "")));
        _assertRefused(address(app), caller, abi.encodeCall(app.upgradeToAndCall, (nextApp, "")));
    }

    function test_app_with_upgrades_disabled_later_is_never_upgraded() public {
        address next = address(new AppAuthV2());
        vm.startPrank(OWNER);
        app.disableUpgrades();
        _expectReason("Upgrades are permanently disabled");
        app.upgradeToAndCall(next, "");
    }

    function test_app_with_upgrades_disabled_from_the_start_is_never_upgraded() public {
        app = _newApp(OWNER, true);
        address next = address(new AppAuthV2());
        vm.prank(OWNER);
        _expectReason("Upgrades are permanently disabled");
        app.upgradeToAndCall(next, "");

        // Who may not upgrade anyway hears that first.
        _assertRefused(address(app), STRANGER, abi.encodeCall(app.upgradeToAndCall, (next, "")));

        // A new owner finds the same.
        vm.prank(OWNER);
        app.transferOwnership(STRANGER);
        vm.startPrank(STRANGER);
        app.acceptOwnership();
        _expectReason("Upgrades are permanently disabled");
        app.upgradeToAndCall(next, "");
    }

    function test_app_with_upgrades_disabled_is_still_managed() public {
        app = _newApp(OWNER, true);
        vm.prank(OWNER);
        app.addComposeHash("compose");
        vm.assertTrue(app.allowedComposeHashes("compose"));
    }

    function test_only_uups_implementations_are_accepted() public {
        address notUpgradeable = address(new NotUpgradeable());
        address wrongSlot = address(new WrongSlot());
        address[2] memory proxies = [address(kms), address(app)];
        for (uint256 i = 0; i < proxies.length; i++) {
            UUPSUpgradeable proxy = UUPSUpgradeable(proxies[i]);
            vm.startPrank(OWNER);
            vm.expectRevert(
                abi.encodeWithSelector(ERC1967Utils.ERC1967InvalidImplementation.selector, notUpgradeable)
            );
            proxy.upgradeToAndCall(notUpgradeable, "");
            vm.expectRevert(
                abi.encodeWithSelector(
                    UUPSUpgradeable.UUPSUnsupportedProxiableUUID.selector, keccak256("elsewhere")
                )
            );
            proxy.upgradeToAndCall(wrongSlot, "");
            vm.expectRevert();
            proxy.upgradeToAndCall(address(0xE0A), "");
            vm.stopPrank();
        }
    }

    /// @dev It names the right slot, but answers no question: a proxy at it would refuse everybody.
    function test_no_proxy_is_pointed_at_a_management_part() public {
        address kmsPart = new KmsAuth().management();
        address appPart = new AppAuth().management();
        vm.startPrank(OWNER);
        vm.expectRevert(abi.encodeWithSelector(IGoverned.NotAnImplementation.selector, kmsPart));
        kms.upgradeToAndCall(kmsPart, "");
        vm.expectRevert(abi.encodeWithSelector(IGoverned.NotAnImplementation.selector, appPart));
        app.upgradeToAndCall(appPart, "");
        kms.setDelay(1 days);
        app.setDelay(1 days);
        vm.expectRevert(abi.encodeWithSelector(IGoverned.NotAnImplementation.selector, kmsPart));
        kms.upgradeToAndCall(kmsPart, "");
        vm.expectRevert(abi.encodeWithSelector(IGoverned.NotAnImplementation.selector, appPart));
        app.upgradeToAndCall(appPart, "");
        vm.stopPrank();
    }

    function test_upgrade_without_call_takes_no_money() public {
        address next = address(new KmsAuthV2());
        vm.deal(OWNER, 1);
        vm.prank(OWNER);
        vm.expectRevert(ERC1967Utils.ERC1967NonPayable.selector);
        kms.upgradeToAndCall{value: 1}(next, "");
    }

    function test_implementations_do_not_upgrade_themselves() public {
        IKmsAuth kmsImplementation = IKmsAuth(address(new KmsAuth()));
        address next = address(new KmsAuthV2());
        vm.expectRevert(UUPSUpgradeable.UUPSUnauthorizedCallContext.selector);
        kmsImplementation.upgradeToAndCall(next, "");
        vm.expectRevert(UUPSUpgradeable.UUPSUnauthorizedCallContext.selector);
        appImplementation.upgradeToAndCall(next, "");

        vm.assertEq(kmsImplementation.proxiableUUID(), IMPLEMENTATION_SLOT);
        vm.assertEq(appImplementation.proxiableUUID(), IMPLEMENTATION_SLOT);
        vm.expectRevert(UUPSUpgradeable.UUPSUnauthorizedCallContext.selector);
        kms.proxiableUUID();
        vm.expectRevert(UUPSUpgradeable.UUPSUnauthorizedCallContext.selector);
        app.proxiableUUID();
    }

    function test_a_kms_without_owner_is_never_upgraded() public {
        address next = address(new KmsAuthV2());
        vm.prank(OWNER);
        kms.renounceOwnership();
        _assertRefused(address(kms), OWNER, abi.encodeCall(kms.upgradeToAndCall, (next, "")));
    }

    // ------------------------------------------------------------ from dstack's contracts

    function test_dstack_kms_becomes_ours() public {
        DstackKmsStorage old = DstackKmsStorage(
            address(
                new ERC1967Proxy(
                    address(new DstackKmsStorage()), abi.encodeCall(DstackKmsStorage.initialize, (OWNER))
                )
            )
        );
        IAppAuth.AppBootInfo memory boot = _bootInfo();
        old.fill(boot.appId, boot.mrAggregated, boot.deviceId, boot.osImageHash, address(0x1113));

        address next = address(new KmsAuth());
        vm.prank(OWNER);
        old.upgradeToAndCall(next, "");

        kms = IKmsAuth(address(old));
        (bytes memory k256, bytes memory ca, bytes memory quote, bytes memory eventlog) = kms.kmsInfo();
        vm.assertEq(k256, "k256");
        vm.assertEq(ca, "a CA public key that needs more than thirty-two bytes");
        vm.assertEq(quote, "quote");
        vm.assertEq(eventlog, "event log");
        vm.assertEq(kms.gatewayAppId(), "gateway");
        vm.assertTrue(kms.registeredApps(boot.appId));
        vm.assertTrue(kms.kmsAllowedAggregatedMrs(boot.mrAggregated));
        vm.assertTrue(kms.kmsAllowedDeviceIds(boot.deviceId));
        vm.assertTrue(kms.allowedOsImages(boot.osImageHash));
        vm.assertEq(kms.appImplementation(), address(0x1113));
        vm.assertEq(kms.owner(), OWNER);
        _assertKms(boot, "");
        _assertApp(boot, "Compose hash not allowed");

        vm.expectRevert(Initializable.InvalidInitialization.selector);
        kms.initialize(STRANGER, address(0));
        vm.prank(OWNER);
        kms.removeOsImageHash(boot.osImageHash);
        _assertKms(boot, "OS image is not allowed");
    }

    function testFuzz_dstack_app_becomes_ours(bool upgradesDisabled, bool anyDevice, bool upToDate) public {
        DstackAppStorage old = DstackAppStorage(
            address(
                new ERC1967Proxy(
                    address(new DstackAppStorage()), abi.encodeCall(DstackAppStorage.initialize, (OWNER))
                )
            )
        );
        IAppAuth.AppBootInfo memory boot = _bootInfo();
        old.fill(boot.composeHash, boot.deviceId, upgradesDisabled, anyDevice, upToDate);

        address next = address(new AppAuth());
        vm.prank(OWNER);
        old.upgradeToAndCall(next, "");

        app = IManagedAppAuth(address(old));
        vm.assertTrue(app.allowedComposeHashes(boot.composeHash));
        vm.assertTrue(app.allowedDeviceIds(boot.deviceId));
        vm.assertEq(app.allowAnyDevice(), anyDevice);
        vm.assertEq(app.requireTcbUpToDate(), upToDate);
        vm.assertEq(app.owner(), OWNER);
        _assertOwnApp(boot, "");

        vm.expectRevert(Initializable.InvalidInitialization.selector);
        app.initialize(STRANGER, false, false, 0, 0);
        vm.prank(OWNER);
        if (upgradesDisabled) _expectReason("Upgrades are permanently disabled");
        app.upgradeToAndCall(next, "");
    }

    /// @dev The other way round: an owner who turns back finds dstack's storage filled.
    function test_ours_reads_as_dstacks() public {
        vm.startPrank(OWNER);
        kms.setKmsInfo(IKmsTypes.KmsInfo("a", "b", "c", "d"));
        kms.setGatewayAppId("gateway");
        kms.addKmsAggregatedMr("mr");
        kms.addKmsDevice("device");
        kms.addOsImageHash("image");
        kms.registerApp(address(app));
        kms.upgradeToAndCall(address(new DstackKmsStorage()), "");
        DstackKmsStorage old = DstackKmsStorage(address(kms));
        vm.assertEq(old.eventlog(), "d");
        vm.assertEq(old.tproxyAppId(), "gateway");
        vm.assertTrue(old.slot5(address(app)));
        vm.assertTrue(old.slot6("mr"));
        vm.assertTrue(old.slot7("device"));
        vm.assertTrue(old.slot8("image"));
        vm.assertEq(old.slot9(), address(appImplementation));
    }

    function _upgradeAndCheckLogs(address proxy, address next) private {
        vm.recordLogs();
        UUPSUpgradeable(proxy).upgradeToAndCall(next, "");
        TestVm.Log[] memory logs = vm.getRecordedLogs();
        vm.assertEq(logs.length, 2);
        _assertPolicy(logs[0], proxy, OWNER, "implementation-upgrade", _word(next), true);
        vm.assertEq(logs[1].emitter, proxy);
        vm.assertEq(logs[1].topics[0], IERC1967.Upgraded.selector);
        vm.assertEq(logs[1].topics[1], _word(next));
        vm.assertEq(vm.load(proxy, IMPLEMENTATION_SLOT), _word(next));
    }
}
