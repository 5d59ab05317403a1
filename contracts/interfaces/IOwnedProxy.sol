// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

/// @title Ownership and upgrades, as OpenZeppelin's contracts offer them
interface IOwnedProxy {
    /// @notice Who manages the contract.
    function owner() external view returns (address);

    /// @notice Who may accept the ownership; zero also when that was vetoed.
    function pendingOwner() external view returns (address);

    /// @notice Names a new owner, who accepts after the delay. Zero withdraws the offer at once. Owner only.
    function transferOwnership(address newOwner) external;

    /// @notice Completes a transfer of the ownership once the delay is over.
    function acceptOwnership() external;

    /// @notice Leaves the contract without an owner, and drops everything that waits: nothing is widened any more.
    /// Owner only; irrevocable.
    function renounceOwnership() external;

    /// @notice Replaces the implementation. Owner only. With a delay, the first call schedules it and the same call
    /// carries it out when the delay is over; it waits until then, however long, unless it is dropped.
    function upgradeToAndCall(address newImplementation, bytes calldata data) external payable;

    /// @notice ERC-1967's implementation slot; reverts through a proxy.
    function proxiableUUID() external view returns (bytes32);

    /// @notice Version of the upgrade interface, "5.0.0".
    function UPGRADE_INTERFACE_VERSION() external view returns (string memory);

    /// @notice ERC-165.
    function supportsInterface(bytes4 interfaceId) external view returns (bool);
}
