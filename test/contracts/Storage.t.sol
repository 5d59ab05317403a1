// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {IKmsTypes} from "../../contracts/interfaces/IKmsTypes.sol";
import {AppPolicy} from "../../contracts/governance/AppPolicies.sol";
import {IGoverned} from "../../contracts/interfaces/IGoverned.sol";
import {IOwnedProxy} from "../../contracts/interfaces/IOwnedProxy.sol";
import {BylawTest} from "./support/BylawTest.sol";
import {vm} from "./support/TestVm.sol";

/// @notice The slots of dstack's contracts, as the compiler assigns them and as the chain holds them.
contract StorageTest is BylawTest {
    bytes32 private constant OWNER_SLOT = 0x9016d09d72d40fdae2fd8ceac6b6234c7706214fd39c1cd1e609a0528c199300;
    bytes32 private constant PENDING_OWNER_SLOT =
        0x237e158222e3e6968b72b9db0d8043aacf074ad9f650f0d1606b4d82ee432c00;
    bytes32 private constant INITIALIZABLE_SLOT =
        0xf0c57e16840df040f15088dc2f81fe391c3923bec73e23a9662efc9c229c6a00;

    string private json;
    uint256 private expected;
    string[] private types;

    /// @dev Both parts of an implementation work on one proxy's storage: their layouts must be one.
    function test_layout_of_kms() public {
        _assertLayoutOfKms("KmsAuth");
        _assertLayoutOfKms("KmsManagement");
    }

    function test_layout_of_app() public {
        _assertLayoutOfApp("AppAuth");
        _assertLayoutOfApp("AppManagement");
    }

    function _assertLayoutOfKms(string memory part) private {
        _open(part);
        _variable("_kmsInfo", 0, 0, "t_struct(KmsInfo)");
        _variable("_gatewayAppId", 4, 0, "t_string_storage");
        _variable("_apps", 5, 0, "t_mapping(t_address,t_struct(App)");
        _variable("_kmsMrs", 6, 0, "t_mapping(t_bytes32,t_bool)");
        _variable("_kmsDevices", 7, 0, "t_mapping(t_bytes32,t_bool)");
        _variable("_osImages", 8, 0, "t_mapping(t_bytes32,t_bool)");
        _variable("_appImplementation", 9, 0, "t_address");
        _variable("_upgradesDisabled", 9, 20, "t_bool");
        _variable("_gatewayWithdrawn", 9, 21, "t_bool");
        _variable("_nodeIds", 10, 0, "t_struct(Bytes32Set)");
        _variable("_nodes", 12, 0, "t_mapping(t_bytes32,t_struct(KmsNode)");
        _variable("__gap", 13, 0, "t_array(t_uint256)47_storage");
        _noOtherVariables();
        _member("App", 0, "registered", 0, 0);
        _member("App", 1, "deregistered", 0, 1);
        _member("App", 2, "paused", 0, 2);
        _noOtherMembers("App", 3);
    }

    function _assertLayoutOfApp(string memory part) private {
        _open(part);
        _variable("_versions", 0, 0, "t_mapping(t_bytes32,t_struct(Version)");
        _variable("_flags", 1, 0, "t_struct(Flags)");
        _variable("_devices", 2, 0, "t_mapping(t_bytes32,t_bool)");
        _variable("_demands", 3, 0, "t_struct(Demands)");
        _variable("_composeHashes", 4, 0, "t_array(t_bytes32)dyn_storage");
        _variable("_notes", 5, 0, "t_mapping(t_bytes32,t_string_storage)");
        _variable("_advisories", 6, 0, "t_mapping(t_bytes32,t_bool)");
        _variable("__gap", 7, 0, "t_array(t_uint256)46_storage");
        _noOtherVariables();
        _member("Version", 0, "listed", 0, 0);
        _member("Version", 1, "retired", 0, 1);
        _member("Version", 2, "number", 0, 2);
        _member("Version", 3, "activatesAt", 0, 6);
        _member("Version", 4, "expiresAt", 0, 14);
        _member("Version", 5, "successor", 0, 22);
        _noOtherMembers("Version", 6);
        _member("Flags", 0, "upgradesDisabled", 0, 0);
        _member("Flags", 1, "allowAnyDevice", 0, 1);
        _member("Flags", 2, "paused", 0, 2);
        _member("Flags", 3, "versionsFrozen", 0, 3);
        _member("Flags", 4, "versionCount", 0, 4);
        _member("Flags", 5, "minVersion", 0, 8);
        _noOtherMembers("Flags", 6);
        _member("Demands", 0, "requireTcbUpToDate", 0, 0);
        _member("Demands", 1, "mayChange", 0, 1);
        _member("Demands", 2, "teeVariantsDenied", 0, 2);
        _member("Demands", 3, "tcbStatusesDenied", 0, 3);
        _member("Demands", 4, "tcbGracePeriod", 0, 5);
        _member("Demands", 5, "maxStateAge", 0, 9);
        _member("Demands", 6, "requireGpu", 0, 13);
        _member("Demands", 7, "judgeAdvisories", 0, 14);
        _noOtherMembers("Demands", 8);
    }

    function test_slots_of_kms() public {
        vm.startPrank(OWNER);
        kms.setKmsInfo(IKmsTypes.KmsInfo({k256Pubkey: "a", caPubkey: "b", quote: "c", eventlog: "d"}));
        kms.setGatewayAppId("gateway");
        kms.registerApp(address(0xA99));
        kms.addKmsAggregatedMr("mr");
        kms.addKmsDevice("device");
        kms.addOsImageHash("image");
        kms.transferOwnership(STRANGER);
        vm.stopPrank();

        address target = address(kms);
        vm.assertEq(_slot(target, 0), _short("a"));
        vm.assertEq(_slot(target, 1), _short("b"));
        vm.assertEq(_slot(target, 2), _short("c"));
        vm.assertEq(_slot(target, 3), _short("d"));
        vm.assertEq(_slot(target, 4), _short("gateway"));
        vm.assertEq(_entry(target, 5, _word(address(0xA99))), bytes32(uint256(1)));
        vm.assertEq(_entry(target, 6, "mr"), bytes32(uint256(1)));
        vm.assertEq(_entry(target, 7, "device"), bytes32(uint256(1)));
        vm.assertEq(_entry(target, 8, "image"), bytes32(uint256(1)));
        vm.assertEq(_slot(target, 9), _word(address(appImplementation)));
        for (uint256 slot = 10; slot < 60; slot++) {
            vm.assertEq(_slot(target, slot), bytes32(0));
        }
        _assertNamespaces(target);
    }

    /// @dev What dstack's contract did not have, next to what it had.
    function test_our_slots_of_kms() public {
        vm.startPrank(OWNER);
        kms.pauseApp(address(0xA99));
        kms.deregisterApp(address(0xA99));
        kms.disableUpgrades();
        kms.setGatewayAppId("gateway");
        kms.setGatewayAppId("");
        kms.setKmsNode(IKmsTypes.KmsNode("key", "evidence", "https://kms"));
        vm.stopPrank();
        address target = address(kms);
        vm.assertEq(_entry(target, 5, _word(address(0xA99))), bytes32(uint256(0x010100)));
        vm.assertEq(_slot(target, 9), _word(address(appImplementation)) | bytes32(uint256(0x0101) << 160));
        vm.assertEq(_slot(target, 10), bytes32(uint256(1)));
        bytes32 nodeId = keccak256("https://kms");
        vm.assertEq(_entry(target, 11, nodeId), bytes32(uint256(1)));
        uint256 node = uint256(keccak256(abi.encode(nodeId, uint256(12))));
        vm.assertEq(_slot(target, node), _short("key"));
        vm.assertEq(_slot(target, node + 1), bytes32("evidence"));
        vm.assertEq(_slot(target, node + 2), _short("https://kms"));
        for (uint256 slot = 13; slot < 60; slot++) {
            vm.assertEq(_slot(target, slot), bytes32(0));
        }
    }

    function test_our_slots_of_app() public {
        vm.startPrank(OWNER);
        app.addVersion("compose", 0, 9, "https://note");
        app.setMinVersion(2);
        app.retire("compose");
        app.freezeVersions();
        app.pause();
        app.setAdvisoryTolerated("INTEL-SA-1", true);
        app.setPolicy(AppPolicy(false, 0xf7, 0xfff5, 0x11223344, false, 0x55667788, true));
        vm.stopPrank();
        address target = address(app);
        // listed, retired, number, activatesAt, expiresAt
        uint256 version = 0x0101 | 1 << 16 | 1 << 48 | 9 << 112;
        vm.assertEq(_entry(target, 0, "compose"), bytes32(version));
        // paused, versionsFrozen, versionCount, minVersion
        vm.assertEq(_slot(target, 1), bytes32(uint256(0x0000000200000001_0101_0000)));
        // judgeAdvisories, requireGpu, maxStateAge, tcbGracePeriod, statuses and variants denied
        vm.assertEq(_slot(target, 3), bytes32(uint256(0x01_01_55667788_11223344_000a_08_00_00)));
        vm.assertEq(_slot(target, 4), bytes32(uint256(1)));
        vm.assertEq(_slot(target, uint256(keccak256(abi.encode(uint256(4))))), bytes32("compose"));
        vm.assertEq(_entry(target, 5, "compose"), _short("https://note"));
        vm.assertEq(_entry(target, 6, "INTEL-SA-1"), bytes32(uint256(1)));
        for (uint256 slot = 7; slot < 53; slot++) {
            vm.assertEq(_slot(target, slot), bytes32(0));
        }
    }

    function test_slots_of_governance() public {
        bytes32 namespace = keccak256(abi.encode(uint256(keccak256("bylaw.storage.Governed")) - 1));
        uint256 slot = uint256(namespace & ~bytes32(uint256(0xff)));
        address[2] memory targets = [address(kms), address(app)];
        for (uint256 i = 0; i < targets.length; i++) {
            IGoverned governed = IGoverned(targets[i]);
            vm.startPrank(OWNER);
            governed.setDelay(0x01223344);
            governed.setGuardian(STRANGER);
            IOwnedProxy(targets[i]).transferOwnership(address(0x4E14));
            bytes32 id = keccak256(abi.encode(keccak256("owner"), 0));
            // delay, guardian; the queue's one entry
            uint256 word = 0x01223344 | uint256(uint160(STRANGER)) << 32;
            vm.assertEq(_slot(targets[i], slot), bytes32(word));
            vm.assertEq(_slot(targets[i], slot + 1), bytes32(uint256(1)));
            vm.assertEq(_entry(targets[i], slot + 2, id), bytes32(uint256(1)));
            uint256 change = uint256(keccak256(abi.encode(id, slot + 3)));
            vm.assertEq(_slot(targets[i], change), keccak256("owner"));
            vm.assertEq(_slot(targets[i], change + 1), _word(address(0x4E14)));
            vm.assertEq(_slot(targets[i], change + 2), bytes32(uint256(1 + 0x01223344)));
            governed.veto(id);
            vm.stopPrank();
            // newOwnerVetoed
            vm.assertEq(_slot(targets[i], slot), bytes32(word | 1 << 192));
        }
    }

    function test_slots_of_app() public {
        vm.startPrank(OWNER);
        app.addComposeHash("compose");
        app.addDevice("device");
        app.disableUpgrades();
        app.transferOwnership(STRANGER);
        vm.assertEq(_slot(address(app), 1), bytes32(uint256(0x00000001_0000_0001)));
        app.setAllowAnyDevice(true);
        vm.assertEq(_slot(address(app), 1), bytes32(uint256(0x00000001_0000_0101)));
        app.setRequireTcbUpToDate(true);
        vm.stopPrank();

        address target = address(app);
        // listed, number, activatesAt; dstack reads byte 0
        vm.assertEq(_entry(target, 0, "compose"), bytes32(uint256(1 | 1 << 16 | 1 << 48)));
        vm.assertEq(_entry(target, 2, "device"), bytes32(uint256(1)));
        // requireTcbUpToDate, and what that denies
        vm.assertEq(_slot(target, 3), bytes32(uint256(0xfffe_00_00_01)));
        vm.assertEq(_slot(target, 4), bytes32(uint256(1)));
        for (uint256 slot = 5; slot < 53; slot++) {
            vm.assertEq(_slot(target, slot), bytes32(0));
        }
        _assertNamespaces(target);
    }

    function _assertNamespaces(address target) private view {
        vm.assertEq(vm.load(target, OWNER_SLOT), _word(OWNER));
        vm.assertEq(vm.load(target, PENDING_OWNER_SLOT), _word(STRANGER));
        vm.assertEq(vm.load(target, INITIALIZABLE_SLOT), bytes32(uint256(1)));
    }

    function _slot(address target, uint256 slot) private view returns (bytes32) {
        return vm.load(target, bytes32(slot));
    }

    function _entry(address target, uint256 slot, bytes32 key) private view returns (bytes32) {
        return vm.load(target, keccak256(abi.encode(key, slot)));
    }

    /// @dev How a slot holds up to 31 bytes: the text from the left, twice its length in the last byte.
    function _short(string memory text) private pure returns (bytes32) {
        return bytes32(bytes(text)) | bytes32(2 * bytes(text).length);
    }

    function _open(string memory name) private {
        json = _artifact(name);
        expected = 0;
        types = vm.parseJsonKeys(json, ".storageLayout.types");
    }

    function _variable(string memory label, uint256 slot, uint256 offset, string memory kind) private {
        string memory path = string.concat(".storageLayout.storage[", vm.toString(expected), "]");
        vm.assertEq(vm.parseJsonString(json, string.concat(path, ".label")), label);
        vm.assertEq(vm.parseJsonUint(json, string.concat(path, ".slot")), slot, label);
        vm.assertEq(vm.parseJsonUint(json, string.concat(path, ".offset")), offset, label);
        // The compiler numbers structs, `t_struct(KmsInfo)1234_storage`: compare what comes before.
        string memory actual = vm.parseJsonString(json, string.concat(path, ".type"));
        vm.assertTrue(_startsWith(actual, kind), actual);
        expected++;
    }

    /// @dev Of a struct.
    function _member(string memory name, uint256 index, string memory label, uint256 slot, uint256 offset)
        private
        view
    {
        string memory members = string.concat(".storageLayout.types['", _typeOf(name), "'].members[");
        string memory path = string.concat(members, vm.toString(index), "]");
        vm.assertEq(vm.parseJsonString(json, string.concat(path, ".label")), label);
        vm.assertEq(vm.parseJsonUint(json, string.concat(path, ".slot")), slot, label);
        vm.assertEq(vm.parseJsonUint(json, string.concat(path, ".offset")), offset, label);
    }

    function _noOtherMembers(string memory name, uint256 count) private view {
        string memory members = string.concat(".storageLayout.types['", _typeOf(name), "'].members[");
        string memory next = string.concat(members, vm.toString(count), "]");
        vm.assertFalse(vm.keyExistsJson(json, next), next);
    }

    function _typeOf(string memory name) private view returns (string memory) {
        for (uint256 i = 0; i < types.length; i++) {
            if (_startsWith(types[i], string.concat("t_struct(", name, ")"))) return types[i];
        }
        revert(name);
    }

    function _noOtherVariables() private view {
        string memory next = string.concat(".storageLayout.storage[", vm.toString(expected), "]");
        vm.assertFalse(vm.keyExistsJson(json, next), next);
    }

    function _startsWith(string memory text, string memory prefix) private pure returns (bool) {
        if (bytes(text).length < bytes(prefix).length) return false;
        for (uint256 i = 0; i < bytes(prefix).length; i++) {
            if (bytes(text)[i] != bytes(prefix)[i]) return false;
        }
        return true;
    }
}
