// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {IAppManagement} from "../../contracts/interfaces/IAppManagement.sol";
import {ERC1967Proxy} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Proxy.sol";
import {Initializable} from "@openzeppelin/contracts/proxy/utils/Initializable.sol";

import {AppAuth} from "../../contracts/AppAuth.sol";
import {IAppAuth} from "../../contracts/interfaces/IAppAuth.sol";
import {IAppAuthBasicManagement} from "../../contracts/interfaces/IAppAuthBasicManagement.sol";
import {IManagedAppAuth} from "../../contracts/interfaces/IManagedAppAuth.sol";
import {BylawTest} from "./support/BylawTest.sol";
import {TestVm, vm} from "./support/TestVm.sol";

contract AppAuthTest is BylawTest {
    string private constant INITIALIZE = "initialize(address,bool,bool,bool,bytes32,bytes32)";
    string private constant OLDER_INITIALIZE = "initialize(address,bool,bool,bytes32,bytes32)";

    // ------------------------------------------------------------ set-up

    function testFuzz_initialize(
        address owner,
        bool upgradesDisabled,
        bool requireTcbUpToDate,
        bool allowAnyDevice,
        bytes32 device,
        bytes32 composeHash
    ) public {
        vm.assume(owner != address(0));
        IManagedAppAuth made = _initializedApp(
            abi.encodeWithSignature(
                INITIALIZE, owner, upgradesDisabled, requireTcbUpToDate, allowAnyDevice, device, composeHash
            )
        );
        _assertSettings(made, owner, upgradesDisabled, requireTcbUpToDate, allowAnyDevice);
        vm.assertEq(made.allowedDeviceIds(device), device != 0);
        vm.assertEq(made.allowedComposeHashes(composeHash), composeHash != 0);
    }

    function testFuzz_older_initialize_demands_no_tcb_status(
        address owner,
        bool upgradesDisabled,
        bool allowAnyDevice,
        bytes32 device,
        bytes32 composeHash
    ) public {
        vm.assume(owner != address(0));
        IManagedAppAuth made = _initializedApp(
            abi.encodeWithSignature(
                OLDER_INITIALIZE, owner, upgradesDisabled, allowAnyDevice, device, composeHash
            )
        );
        _assertSettings(made, owner, upgradesDisabled, false, allowAnyDevice);
        vm.assertEq(made.allowedDeviceIds(device), device != 0);
        vm.assertEq(made.allowedComposeHashes(composeHash), composeHash != 0);
    }

    function test_initialize_logs_lists_and_no_flags() public {
        vm.recordLogs();
        address made = address(
            _initializedApp(
                abi.encodeWithSignature(
                    INITIALIZE, OWNER, true, true, true, bytes32("device"), bytes32("compose")
                )
            )
        );
        TestVm.Log[] memory logs = vm.getRecordedLogs();
        // Upgraded, OwnershipTransferred, device, compose hash, its version, Initialized
        vm.assertEq(logs.length, 8);
        _assertNamed(
            logs[2], made, IAppAuthBasicManagement.DeviceAdded.selector, abi.encode(bytes32("device"))
        );
        _assertPolicy(logs[3], made, address(this), "device", "device", true);
        _assertNamed(
            logs[4], made, IAppAuthBasicManagement.ComposeHashAdded.selector, abi.encode(bytes32("compose"))
        );
        _assertPolicy(logs[5], made, address(this), "compose-hash", "compose", true);
        _assertVersionAdded(logs[6], made, 1, "compose");
    }

    function test_initialize_without_lists_logs_none() public {
        vm.recordLogs();
        _newApp(OWNER, true);
        // Upgraded, OwnershipTransferred, Initialized
        vm.assertEq(vm.getRecordedLogs().length, 3);
    }

    function test_initialize_refuses_zero_owner() public {
        _expectReason("invalid owner address");
        new ERC1967Proxy(
            address(appImplementation),
            abi.encodeWithSignature(INITIALIZE, address(0), false, false, false, bytes32(0), bytes32(0))
        );
        _expectReason("invalid owner address");
        new ERC1967Proxy(
            address(appImplementation),
            abi.encodeWithSignature(OLDER_INITIALIZE, address(0), false, false, bytes32(0), bytes32(0))
        );
    }

    function test_initialize_works_once() public {
        vm.expectRevert(Initializable.InvalidInitialization.selector);
        app.initialize(STRANGER, false, false, false, 0, 0);
        vm.expectRevert(Initializable.InvalidInitialization.selector);
        app.initialize(STRANGER, false, false, 0, 0);
    }

    function test_implementation_cannot_be_initialized() public {
        vm.expectRevert(Initializable.InvalidInitialization.selector);
        appImplementation.initialize(STRANGER, false, false, false, 0, 0);
        vm.expectRevert(Initializable.InvalidInitialization.selector);
        appImplementation.initialize(STRANGER, false, false, 0, 0);
    }

    // ------------------------------------------------------------ lists

    function testFuzz_compose_hashes_come_and_go(bytes32 composeHash, bytes32 other) public {
        vm.assume(other != composeHash);
        vm.startPrank(OWNER);
        vm.recordLogs();
        app.addComposeHash(composeHash);
        TestVm.Log[] memory logs = vm.getRecordedLogs();
        vm.assertEq(logs.length, 3);
        bytes32 added = IAppAuthBasicManagement.ComposeHashAdded.selector;
        _assertNamed(logs[0], address(app), added, abi.encode(composeHash));
        _assertPolicy(logs[1], address(app), OWNER, "compose-hash", composeHash, true);
        _assertVersionAdded(logs[2], address(app), 1, composeHash);
        vm.assertTrue(app.allowedComposeHashes(composeHash));

        // The second time changes nothing and is logged all the same.
        vm.recordLogs();
        app.addComposeHash(composeHash);
        _assertListed(added, "compose-hash", composeHash, true);
        vm.assertTrue(app.allowedComposeHashes(composeHash));

        vm.assertFalse(app.allowedComposeHashes(other));
        for (uint256 round = 0; round < 2; round++) {
            vm.recordLogs();
            app.removeComposeHash(composeHash);
            _assertListed(
                IAppAuthBasicManagement.ComposeHashRemoved.selector, "compose-hash", composeHash, false
            );
            vm.assertFalse(app.allowedComposeHashes(composeHash));
        }
    }

    function testFuzz_devices_come_and_go(bytes32 device, bytes32 other) public {
        vm.assume(other != device);
        vm.startPrank(OWNER);
        for (uint256 round = 0; round < 2; round++) {
            vm.recordLogs();
            app.addDevice(device);
            _assertListed(IAppAuthBasicManagement.DeviceAdded.selector, "device", device, true);
            vm.assertTrue(app.allowedDeviceIds(device));
        }
        vm.assertFalse(app.allowedDeviceIds(other));
        for (uint256 round = 0; round < 2; round++) {
            vm.recordLogs();
            app.removeDevice(device);
            _assertListed(IAppAuthBasicManagement.DeviceRemoved.selector, "device", device, false);
            vm.assertFalse(app.allowedDeviceIds(device));
        }
    }

    // ------------------------------------------------------------ switches

    function testFuzz_setAllowAnyDevice(bool before, bool value) public {
        vm.startPrank(OWNER);
        app.setAllowAnyDevice(before);
        vm.recordLogs();
        app.setAllowAnyDevice(value);
        _assertSwitched(IAppManagement.AllowAnyDeviceSet.selector, "allow-any-device", value);
        vm.assertEq(app.allowAnyDevice(), value);
    }

    function testFuzz_setRequireTcbUpToDate(bool before, bool value) public {
        vm.startPrank(OWNER);
        app.setRequireTcbUpToDate(before);
        vm.recordLogs();
        app.setRequireTcbUpToDate(value);
        _assertSwitched(IAppManagement.RequireTcbUpToDateSet.selector, "require-tcb-up-to-date", value);
        vm.assertEq(app.requireTcbUpToDate(), value);
    }

    function test_disableUpgrades() public {
        vm.startPrank(OWNER);
        for (uint256 round = 0; round < 2; round++) {
            vm.recordLogs();
            app.disableUpgrades();
            _assertChange(
                address(app),
                OWNER,
                IAppManagement.UpgradesDisabled.selector,
                "",
                "upgrades-disabled",
                0,
                true
            );
        }
        // The neighbour in its slot is as it was.
        vm.assertFalse(app.allowAnyDevice());
    }

    // ------------------------------------------------------------ isAppAllowed

    /// @dev Every combination of status, lists and switches against the table, first match first.
    function test_decision_table() public {
        for (uint256 bits = 0; bits < 32; bits++) {
            app = _newApp(OWNER, false);
            IAppAuth.AppBootInfo memory boot = _bootInfo();
            if (bits & 1 == 0) boot.tcbStatus = "OutOfDate";
            vm.startPrank(OWNER);
            if (bits & 2 != 0) app.setRequireTcbUpToDate(true);
            if (bits & 4 != 0) app.addComposeHash(boot.composeHash);
            if (bits & 8 != 0) app.setAllowAnyDevice(true);
            if (bits & 16 != 0) app.addDevice(boot.deviceId);
            vm.stopPrank();
            _assertOwnApp(
                boot, _model(bits & 1 != 0, bits & 2 != 0, bits & 4 != 0, bits & 8 != 0, bits & 16 != 0)
            );
        }
    }

    function testFuzz_decides_as_the_model(
        IAppAuth.AppBootInfo memory boot,
        bool upToDate,
        bool requireTcbUpToDate,
        bool composeHash,
        bool anyDevice,
        bool device
    ) public {
        vm.assume(keccak256(bytes(boot.tcbStatus)) != keccak256("UpToDate"));
        if (upToDate) boot.tcbStatus = "UpToDate";
        vm.startPrank(OWNER);
        app.setRequireTcbUpToDate(requireTcbUpToDate);
        if (composeHash) app.addComposeHash(boot.composeHash);
        app.setAllowAnyDevice(anyDevice);
        if (device) app.addDevice(boot.deviceId);
        vm.stopPrank();
        _assertOwnApp(boot, _model(upToDate, requireTcbUpToDate, composeHash, anyDevice, device));
    }

    function testFuzz_other_fields_do_not_matter(
        address appId,
        address instanceId,
        bytes32 mrAggregated,
        bytes32 mrSystem,
        bytes32 osImageHash,
        string[] calldata advisoryIds
    ) public {
        IAppAuth.AppBootInfo memory boot = _allowed();
        boot.appId = appId;
        boot.instanceId = instanceId;
        boot.mrAggregated = mrAggregated;
        boot.mrSystem = mrSystem;
        boot.osImageHash = osImageHash;
        boot.advisoryIds = advisoryIds;
        _assertOwnApp(boot, "");
    }

    /// @dev The zero hash is a value as any other: not allowed until somebody adds it.
    function test_zero_hashes_are_no_wildcards() public {
        IAppAuth.AppBootInfo memory boot = _allowed();
        boot.composeHash = 0;
        _assertOwnApp(boot, "Compose hash not allowed");
        boot = _allowed();
        boot.deviceId = 0;
        _assertOwnApp(boot, "Device not allowed");
    }

    function test_retired_values_are_denied() public {
        IAppAuth.AppBootInfo memory boot = _allowed();
        vm.startPrank(OWNER);
        app.removeDevice(boot.deviceId);
        _assertOwnApp(boot, "Device not allowed");
        app.removeComposeHash(boot.composeHash);
        _assertOwnApp(boot, "Compose hash not allowed");
    }

    // ------------------------------------------------------------ access

    /// @dev Whoever is not the owner changes nothing and leaves no log.
    function testFuzz_only_the_owner_manages(address caller) public {
        vm.assume(caller != OWNER && caller != address(0));
        bytes[] memory calls = new bytes[](7);
        calls[0] = abi.encodeCall(app.addComposeHash, ("c"));
        calls[1] = abi.encodeCall(app.removeComposeHash, ("c"));
        calls[2] = abi.encodeCall(app.addDevice, ("d"));
        calls[3] = abi.encodeCall(app.removeDevice, ("d"));
        calls[4] = abi.encodeCall(app.setAllowAnyDevice, (true));
        calls[5] = abi.encodeCall(app.setRequireTcbUpToDate, (true));
        calls[6] = abi.encodeCall(app.disableUpgrades, ());
        for (uint256 i = 0; i < calls.length; i++) {
            _assertRefused(address(app), caller, calls[i]);
        }
        _assertSettings(app, OWNER, false, false, false);
        vm.assertFalse(app.allowedComposeHashes("c"));
    }

    function test_ownership_moves_in_two_steps() public {
        _assertTwoStepOwnership(address(app));
    }

    // ------------------------------------------------------------ helpers

    function _model(bool upToDate, bool requireTcbUpToDate, bool composeHash, bool anyDevice, bool device)
        private
        pure
        returns (string memory)
    {
        if (requireTcbUpToDate && !upToDate) return "TCB status is not up to date";
        if (!composeHash) return "Compose hash not allowed";
        if (!anyDevice && !device) return "Device not allowed";
        return "";
    }

    function _allowed() private returns (IAppAuth.AppBootInfo memory boot) {
        boot = _bootInfo();
        vm.startPrank(OWNER);
        app.addComposeHash(boot.composeHash);
        app.addDevice(boot.deviceId);
        vm.stopPrank();
        _assertOwnApp(boot, "");
    }

    function _assertVersionAdded(TestVm.Log memory log, address emitter, uint256 number, bytes32 composeHash)
        private
        view
    {
        vm.assertEq(log.emitter, emitter);
        vm.assertEq(log.topics.length, 3);
        vm.assertEq(log.topics[0], IAppManagement.VersionAdded.selector);
        vm.assertEq(log.topics[1], bytes32(number));
        vm.assertEq(log.topics[2], composeHash);
        vm.assertEq(log.data, abi.encode(block.timestamp, 0, ""));
    }

    function _assertListed(bytes32 topic, string memory label, bytes32 value, bool enabled) private {
        _assertChange(address(app), OWNER, topic, abi.encode(value), label, value, enabled);
    }

    function _assertSwitched(bytes32 topic, string memory label, bool value) private {
        _assertChange(address(app), OWNER, topic, abi.encode(value), label, 0, value);
    }

    function _assertSettings(
        IManagedAppAuth made,
        address owner,
        bool upgradesDisabled,
        bool requireTcbUpToDate,
        bool allowAnyDevice
    ) private view {
        vm.assertEq(made.owner(), owner);
        vm.assertEq(made.requireTcbUpToDate(), requireTcbUpToDate);
        vm.assertEq(made.allowAnyDevice(), allowAnyDevice);
        vm.assertEq(uint256(vm.load(address(made), bytes32(uint256(1)))) & 0xff != 0, upgradesDisabled);
    }
}
