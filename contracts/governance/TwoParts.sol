// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {IERC1822Proxiable} from "@openzeppelin/contracts/interfaces/draft-IERC1822.sol";
import {Proxy} from "@openzeppelin/contracts/proxy/Proxy.sol";
import {ERC1967Utils} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Utils.sol";
import {Initializable} from "@openzeppelin/contracts/proxy/utils/Initializable.sol";
import {UUPSUpgradeable} from "@openzeppelin/contracts/proxy/utils/UUPSUpgradeable.sol";
import {ERC165, IERC165} from "@openzeppelin/contracts/utils/introspection/ERC165.sol";

/// @title An implementation made of a part that answers and a part that changes
/// @dev No contract may be larger than 24,576 bytes (EIP-170). What the inheriting contract does not answer itself
/// goes by delegatecall to the management part, which it created and which never changes: to a proxy, and to
/// whoever upgrades it, both are one implementation.
abstract contract TwoParts is Proxy, Initializable, ERC165, IERC1822Proxiable {
    /// @notice Where calls go that change something.
    address public immutable management;

    address private immutable _self = address(this);

    constructor(address management_) {
        management = management_;
        _disableInitializers();
    }

    /// @dev Money without a call is refused by the management part like any call it does not know.
    receive() external payable {
        _fallback();
    }

    /// @inheritdoc IERC1822Proxiable
    function proxiableUUID() external view returns (bytes32) {
        // A proxy that points at a proxy would never get any further.
        if (address(this) != _self) revert UUPSUpgradeable.UUPSUnauthorizedCallContext();
        return ERC1967Utils.IMPLEMENTATION_SLOT;
    }

    /// @inheritdoc ERC165
    function supportsInterface(bytes4 interfaceId) public view virtual override returns (bool) {
        return super.supportsInterface(interfaceId);
    }

    function _implementation() internal view override returns (address) {
        return management;
    }
}
