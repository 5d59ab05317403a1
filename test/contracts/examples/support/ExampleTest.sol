// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {ERC1967Proxy} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Proxy.sol";
import {IERC165} from "@openzeppelin/contracts/utils/introspection/IERC165.sol";

import {AppAuth} from "../../../../contracts/AppAuth.sol";
import {KmsAuth} from "../../../../contracts/KmsAuth.sol";
import {IKmsAuth} from "../../../../contracts/interfaces/IKmsAuth.sol";
import {IAppAuth} from "../../../../contracts/interfaces/IAppAuth.sol";

/// @dev The part of Foundry's cheatcodes that the tests of the examples use.
interface ExampleVm {
    function assertEq(address left, address right) external pure;
    function assertEq(bool left, bool right) external pure;
    function assertEq(bytes32 left, bytes32 right) external pure;
    function assertEq(string calldata left, string calldata right) external pure;
    function assertEq(uint256 left, uint256 right) external pure;
    function assertTrue(bool condition) external pure;
    function assertFalse(bool condition) external pure;

    function assume(bool condition) external pure;
    function expectRevert() external;
    function expectRevert(bytes calldata data) external;
    function expectRevert(bytes4 selector) external;
    function expectEmit(address emitter) external;
    function prank(address sender) external;

    function warp(uint256 timestamp) external;
    function roll(uint256 blockNumber) external;
    function chainId(uint256 id) external;

    function addr(uint256 privateKey) external pure returns (address);
    function sign(uint256 privateKey, bytes32 digest) external pure returns (uint8 v, bytes32 r, bytes32 s);
    function eip712HashTypedData(string calldata json) external pure returns (bytes32);
    function toString(uint256 value) external pure returns (string memory);
    function toString(address value) external pure returns (string memory);
    function toString(bytes32 value) external pure returns (string memory);
}

ExampleVm constant vm = ExampleVm(0x7109709ECfa91a80626fF3989D68f67F5b1DD12D);

/// @dev A real KMS contract that trusts one OS image, and what the tests ask of it.
abstract contract ExampleTest {
    /// @dev By this forge tells tests from what is deployed.
    bool public constant IS_TEST = true;

    address internal constant STRANGER = address(0xBAD);
    bytes32 internal constant OS_IMAGE = keccak256("os image hash");
    bytes32 internal constant COMPOSE = keccak256("compose");
    uint256 internal constant START = 1_700_000_000;

    IKmsAuth internal kms;

    function setUp() public virtual {
        vm.warp(START);
        vm.roll(1000);
        bytes memory call =
            abi.encodeWithSignature("initialize(address,address)", address(this), address(new AppAuth()));
        kms = IKmsAuth(address(new ERC1967Proxy(address(new KmsAuth()), call)));
        kms.addOsImageHash(OS_IMAGE);
    }

    function _bootInfo(address app, bytes32 composeHash) internal pure returns (IAppAuth.AppBootInfo memory) {
        return IAppAuth.AppBootInfo({
            appId: app,
            composeHash: composeHash,
            instanceId: address(0x1257),
            deviceId: keccak256("device id"),
            mrAggregated: keccak256("mr aggregated"),
            mrSystem: keccak256("mr system"),
            osImageHash: OS_IMAGE,
            tcbStatus: "UpToDate",
            advisoryIds: new string[](0)
        });
    }

    /// @dev What the app answers alone, and what the KMS contract answers for it; empty when allowed.
    function _assertAnswer(address app, bytes32 composeHash, string memory expected) internal view {
        IAppAuth.AppBootInfo memory boot = _bootInfo(app, composeHash);
        (bool isAllowed, string memory reason) = IAppAuth(app).isAppAllowed(boot);
        vm.assertEq(reason, expected);
        vm.assertEq(isAllowed, bytes(expected).length == 0);
        (isAllowed, reason) = kms.isAppAllowed(boot);
        vm.assertEq(reason, expected);
        vm.assertEq(isAllowed, bytes(expected).length == 0);
    }

    /// @dev The rules of the KMS contract come before those of the app.
    function _assertKmsRulesFirst(address app, bytes32 allowedComposeHash) internal view {
        _assertAnswer(app, allowedComposeHash, "");
        IAppAuth.AppBootInfo memory boot = _bootInfo(app, allowedComposeHash);
        boot.osImageHash = keccak256("another image");
        (bool isAllowed, string memory reason) = kms.isAppAllowed(boot);
        vm.assertFalse(isAllowed);
        vm.assertEq(reason, "OS image is not allowed");
    }

    function _assertInterfaces(address app) internal view {
        vm.assertTrue(IERC165(app).supportsInterface(0x1e079198));
        vm.assertTrue(IERC165(app).supportsInterface(type(IERC165).interfaceId));
        vm.assertFalse(IERC165(app).supportsInterface(0xffffffff));
    }

    function _bound(uint256 value, uint256 low, uint256 high) internal pure returns (uint256) {
        return low + value % (high - low + 1);
    }
}
