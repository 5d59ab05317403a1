// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {ERC1967Proxy} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Proxy.sol";

import {IKmsReading} from "./interfaces/IKmsReading.sol";

/// @title An app's proxy whose address depends on nothing but its deployer and a salt
/// @dev It asks its creator, the KMS contract, for the implementation instead of taking it as an argument: the
/// creation code is the same for every app, so a CREATE2 address is known before anything else is decided.
contract AppProxy is ERC1967Proxy {
    constructor() ERC1967Proxy(IKmsReading(msg.sender).appImplementation(), "") {}

    /// @dev The factory initializes it in the same transaction.
    function _unsafeAllowUninitialized() internal pure override returns (bool) {
        return true;
    }
}
