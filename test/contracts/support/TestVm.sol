// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

/// @dev The part of Foundry's cheatcodes that the tests use.
interface TestVm {
    struct Log {
        bytes32[] topics;
        bytes data;
        address emitter;
    }

    function assertEq(address left, address right) external pure;
    function assertEq(bool left, bool right) external pure;
    function assertEq(bytes calldata left, bytes calldata right) external pure;
    function assertEq(bytes32 left, bytes32 right) external pure;
    function assertEq(bytes32 left, bytes32 right, string calldata what) external pure;
    function assertEq(string calldata left, string calldata right) external pure;
    function assertEq(uint256 left, uint256 right) external pure;
    function assertEq(uint256 left, uint256 right, string calldata what) external pure;
    function assertTrue(bool condition) external pure;
    function assertTrue(bool condition, string calldata what) external pure;
    function assertFalse(bool condition) external pure;
    function assertFalse(bool condition, string calldata what) external pure;
    function assertLt(uint256 left, uint256 right) external pure;

    function assume(bool condition) external pure;
    function expectRevert() external;
    function expectRevert(bytes calldata data) external;
    function expectRevert(bytes4 selector) external;
    function prank(address sender) external;
    function startPrank(address sender) external;
    function stopPrank() external;
    function deal(address target, uint256 balance) external;

    function warp(uint256 timestamp) external;
    function etch(address target, bytes calldata code) external;
    function cool(address target) external;
    function expectCall(address callee, bytes calldata data) external;

    function load(address target, bytes32 slot) external view returns (bytes32);
    function store(address target, bytes32 slot, bytes32 value) external;
    function computeCreateAddress(address deployer, uint256 nonce) external pure returns (address);
    function getNonce(address account) external view returns (uint64);

    function recordLogs() external;
    function getRecordedLogs() external returns (Log[] memory);

    function readFile(string calldata path) external view returns (string memory);
    function parseJsonKeys(string calldata json, string calldata path) external pure returns (string[] memory);
    function parseJsonString(string calldata json, string calldata path) external pure returns (string memory);
    function parseJsonUint(string calldata json, string calldata path) external pure returns (uint256);
    function keyExistsJson(string calldata json, string calldata path) external view returns (bool);
    function toString(uint256 value) external pure returns (string memory);
    function projectRoot() external view returns (string memory);
}

TestVm constant vm = TestVm(0x7109709ECfa91a80626fF3989D68f67F5b1DD12D);
