// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

/// @dev The part of Foundry's cheatcodes that the scripts use.
interface Vm {
    enum CallerMode {
        None,
        Broadcast,
        RecurrentBroadcast,
        Prank,
        RecurrentPrank
    }

    struct Log {
        bytes32[] topics;
        bytes data;
        address emitter;
    }

    function envAddress(string calldata name) external view returns (address);
    function envBool(string calldata name) external view returns (bool);
    function envBytes(string calldata name) external view returns (bytes memory);
    function envBytes32(string calldata name) external view returns (bytes32);
    function envString(string calldata name) external view returns (string memory);
    function envUint(string calldata name) external view returns (uint256);
    function envExists(string calldata name) external view returns (bool);
    function envAddress(string calldata name, string calldata separator)
        external
        view
        returns (address[] memory);

    function envOr(string calldata name, address otherwise) external view returns (address);
    function envOr(string calldata name, bool otherwise) external view returns (bool);
    function envOr(string calldata name, bytes32 otherwise) external view returns (bytes32);
    function envOr(string calldata name, bytes calldata otherwise) external view returns (bytes memory);
    function envOr(string calldata name, string calldata otherwise) external view returns (string memory);
    function envOr(string calldata name, uint256 otherwise) external view returns (uint256);
    function envOr(string calldata name, string calldata separator, bytes32[] calldata otherwise)
        external
        view
        returns (bytes32[] memory);

    function parseBytes32(string calldata text) external pure returns (bytes32);
    function parseUint(string calldata text) external pure returns (uint256);
    function split(string calldata text, string calldata separator) external pure returns (string[] memory);
    function addr(uint256 privateKey) external pure returns (address);
    function toString(address value) external pure returns (string memory);
    function toString(bytes32 value) external pure returns (string memory);
    function toString(bytes calldata value) external pure returns (string memory);
    function toString(bool value) external pure returns (string memory);
    function toString(uint256 value) external pure returns (string memory);

    function load(address target, bytes32 slot) external view returns (bytes32);
    function store(address target, bytes32 slot, bytes32 value) external;
    function prank(address sender) external;
    function recordLogs() external;
    function getRecordedLogs() external returns (Log[] memory);

    function startBroadcast() external;
    function startBroadcast(uint256 privateKey) external;
    function stopBroadcast() external;
    function readCallers() external view returns (CallerMode mode, address sender, address origin);
}

Vm constant vm = Vm(0x7109709ECfa91a80626fF3989D68f67F5b1DD12D);
